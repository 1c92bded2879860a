"""One log file for each run, with the lines of that run."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import colorama
import colorlog
from recbole.utils import get_local_time
from recbole.utils.logger import RemoveColorFilter, log_colors_config

from .names import unique

# Where RecBole keeps them, in the working directory.
LOGS, TENSORBOARD = "log", "log_tensorboard"
LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}


class RunFile(logging.FileHandler):
    """The log file of a run; what cannot be written is said once, and the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Give the file up."""
        error = sys.exc_info()[1]
        logging.getLogger().removeHandler(self)
        print(f"recbole_cel: {self.baseFilename} ends here, for it cannot be written: {error}", file=sys.stderr)


class _Present:
    """The handlers of the run at hand, and the root logger's level without it."""

    def __init__(self) -> None:
        self.handlers: list[logging.Handler] = []
        self.level: int | None = None


_PRESENT = _Present()


def start_log(config: Any) -> Path:
    """Begin the log of a run, as RecBole's ``init_logger``, but with a file of its own; gives its path.

    The handlers of the run before are closed; those of others stay, and then lines are shown by them only.
    """
    root = logging.getLogger()
    end_log()
    others = list(root.handlers)
    level = LEVELS.get(str(config["state"]).lower(), logging.INFO)
    folder = Path(LOGS, config["model"])
    folder.mkdir(parents=True, exist_ok=True)
    # RecBole names the TensorBoard folder by what comes before the first dot.
    name = unique(f"{config['model']}-{config['dataset']}-{get_local_time()}").replace(".", "_")
    file = RunFile(os.path.join(folder, f"{name}.log"), mode="x", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S"))
    file.addFilter(RemoveColorFilter())
    handlers: list[logging.Handler] = [file]
    if not others:
        _colours()
        screen = logging.StreamHandler()
        screen.setFormatter(
            colorlog.ColoredFormatter(
                "%(log_color)s%(asctime)-15s %(levelname)s  %(message)s",
                "%d %b %H:%M",
                log_colors=log_colors_config,
            )
        )
        handlers.insert(0, screen)  # before the file's filter takes the colours away
    _PRESENT.handlers, _PRESENT.level = handlers, root.level
    for handler in handlers:
        handler.setLevel(level)
        root.addHandler(handler)
    for other in others:
        if isinstance(other, logging.FileHandler):
            # RecBole names the TensorBoard folder by the first log file, which must be the run's own.
            root.removeHandler(other)
            root.addHandler(other)
    root.setLevel(min(level, root.level) if others else level)
    return Path(file.baseFilename)


def log_folders(model: str) -> dict[str, object]:
    """The folders of logs and of TensorBoard for ``model``, by their names."""
    return {LOGS: os.path.join(LOGS, model), TENSORBOARD: TENSORBOARD}


def end_log() -> None:
    """Close the log of the run at hand, if there is one."""
    root = logging.getLogger()
    for handler in _PRESENT.handlers:
        root.removeHandler(handler)
        handler.close()
    if _PRESENT.level is not None:
        root.setLevel(_PRESENT.level)
    _PRESENT.handlers, _PRESENT.level = [], None


def _colours() -> None:
    """As RecBole: colours end with each line. Once only, as each call wraps the wrapped streams again."""
    if sys.stdout is not colorama.initialise.wrapped_stdout or sys.stdout is None:
        colorama.init(autoreset=True)
