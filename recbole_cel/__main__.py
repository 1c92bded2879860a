"""Command line: ``python -m recbole_cel --model=DeepFM_CEL --dataset=ml-100k --key=value ...``."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence

from .convert.command import main as convert
from .inputs import command_line
from .inputs.command_line import FLAGS, Words
from .options import SHOW_TRACEBACK, SettingError
from .runs.signals import stoppable

BAD_INPUT = 2
FAILED = 1


@stoppable()
def main(words: Sequence[str] | None = None) -> int:
    """Run one experiment; takes the flags of RecBole's ``run_recbole.py`` and any ``--key=value``.

    Args:
        words: the command line without the program; by default that of the process.

    Returns:
        The exit code: 0, 2 at bad input, 1 where the machine or RecBole fails.

    Raises:
        SystemExit: with code 130 or 143, if stopped.
    """
    words = [*(sys.argv[1:] if words is None else words)]
    if words[:1] == ["convert"]:
        return convert(words[1:])
    if "--help" in words or "-h" in words:
        print(_help())
        return 0
    # RecBole reads the configuration keys from there.
    before, sys.argv = sys.argv, [*sys.argv[:1], *words]
    try:
        return in_one_line(lambda: _run(command_line.read(words)))
    finally:
        sys.argv = before


def in_one_line(run: Callable[[], object]) -> int:
    """Call ``run``; gives the exit code, and says in one line what a user can do something about.

    Raises:
        Exception: what is a bug of ours.
    """
    try:
        run()
    except Exception as error:
        line, code = _one_line(error)
        if line is None:
            raise
        if SHOW_TRACEBACK in os.environ:
            traceback.print_exc()
        return _say(line, code)
    return 0


def _run(found: Words) -> None:
    # RecBole and ray speak of their own use of deprecated functions, some of it once an epoch.
    warnings.filterwarnings("ignore", module=r"(recbole|ray)\..*")
    from .quick_start import run

    flags = found.flags
    run(
        flags["model"],
        flags["dataset"],
        _files(flags["config_files"]),
        nproc=flags["nproc"],
        world_size=flags["world_size"],
        ip=flags["ip"],
        port=flags["port"],
        group_offset=flags["group_offset"],
    )


def _files(names: str | None) -> list[str] | None:
    if names is None:
        return None
    return [names] if os.path.isfile(names) else names.split()


def _one_line(error: Exception) -> tuple[str | None, int]:
    """What an error says to a user, and the exit code; None for the line where the error is a bug of ours."""
    if isinstance(error, SettingError):
        return str(error), BAD_INPUT
    if type(error).__name__ == "CheckpointError" and type(error).__module__.startswith(f"{__package__}."):
        return str(error), BAD_INPUT  # known by its name: its module may be what could not be imported
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(f"{__package__}"):
        return str(error), BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}", FAILED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "there is not enough memory; smaller are train_batch_size, eval_batch_size, embedding_size", FAILED
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _owner(frame.filename)]
    if frames and _owner(frames[-1].filename) == "recbole":
        last = frames[-1]
        place = f"{last.filename.rpartition('recbole' + os.sep)[2]}, line {last.lineno}"
        said = f"{type(error).__name__}: {error}"
        return f"RecBole stopped with {said} (recbole/{place}; {SHOW_TRACEBACK}=1 shows more)", FAILED
    return None, FAILED


def _owner(file: str) -> str | None:
    """The package, ours or RecBole's, that a file of code is in."""
    for name in ("recbole", __package__):
        package = sys.modules.get(name)
        if (
            package is not None
            and package.__file__
            and file.startswith(os.path.dirname(package.__file__) + os.sep)
        ):
            return name
    return None


def _say(line: str, code: int) -> int:
    line = " ".join(line.split())
    # What says that RecBole is missing names the package itself.
    print(line if line.startswith("recbole_cel ") else f"recbole_cel: {line}", file=sys.stderr)
    return code


def _help() -> str:
    lines = ["usage: recbole-cel [--flag=value ...] [--key=value ...]", ""]
    lines += ["Train and test a RecBole model, with clustered embeddings if its name ends in _CEL.", ""]
    for name, flag in FLAGS.items():
        short = f"-{flag.short} VALUE, " if flag.short else ""
        default = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  {short}--{name}=VALUE".ljust(32) + f"{flag.help}{default}")
    lines += ["", "recbole-cel convert --help tells how raw MovieLens and Amazon files become a data set."]
    lines += ["Any other --key=value sets a RecBole or cel_* option; the README lists the latter."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
