"""Children that train, to be killed or to be run beside each other; each says how it ended in a file."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from recbole_cel.data import TrainingObjective
from recbole_cel.runs import checkpoint as checkpoints

from . import tiny_runs
from .trial import _of_error

# What of a state must be the same, bit by bit; the rest are names of files and folders.
COMPARED = (
    *("epoch", "cur_step", "best_valid_score", "best_valid_result", "train_loss", "state_dict", "other_parameter"),
    *("optimizer", "strategy", "random", "shuffle"),
)


def ending(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run, or go on with the last run in ``saved``; its result, and a digest of its last state."""
    last = last_state()
    result = tiny_runs.run(model, {**given, **({"cel_resume": str(last)} if last else {})}, saved=True)
    state = checkpoints.read(last_state() or "none")
    digest = checkpoints.digest({name: state[name] for name in COMPARED})
    return {"test": dict(result["test_result"]), "valid": dict(result["best_valid_result"]), "digest": digest}


def last_state() -> Path | None:
    """The newest file to resume from."""
    found = sorted(Path("saved").glob("*-last.pth"), key=lambda file: file.stat().st_mtime_ns)
    return found[-1] if found else None


def fork(call: Callable[[], Any], answer: Path) -> int:
    """A child that does ``call`` and writes what it returns, or the error, to ``answer``; gives its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        try:
            found = {"result": call()}
        except BaseException as error:
            found = {"error": " ".join(_of_error(error))}
        answer.write_text(json.dumps(found))
        os._exit(0)
    finally:
        os._exit(1)


class Moments:
    """Counts what a run does, and kills its own process in the middle of one of these.

    Attributes:
        counts: how often each was met: ``step`` (an optimiser's step), ``event`` (a forward pass within a cluster
            event), ``save`` (bytes of a checkpoint; half of them are written), ``sync`` (before they are on
            disk), ``rename`` (before a file has its name), ``renamed`` (after it).
    """

    NAMES = ("step", "event", "save", "sync", "rename", "renamed")

    def __init__(self, deadly: str = "", at: int = 0) -> None:
        self.counts = dict.fromkeys(self.NAMES, 0)
        self._deadly, self._at = deadly, at
        register_optimizer_step_post_hook(lambda *_: self._meet("step"))
        outputs, save, sync, replace = TrainingObjective.outputs, torch.save, os.fsync, os.replace

        def of_event(objective: Any, *args: Any, **options: Any) -> Any:
            found = outputs(objective, *args, **options)
            self._meet("event")
            return found

        def saved(state: Any, file: Any, *args: Any, **options: Any) -> None:
            if self._is_deadly("save") and hasattr(file, "write"):
                whole = io.BytesIO()
                save(state, whole, *args, **options)
                file.write(whole.getvalue()[: whole.tell() // 2])
                file.flush()
            self._meet("save")
            save(state, file, *args, **options)

        def synced(handle: Any) -> None:
            self._meet("sync")
            sync(handle)

        def replaced(source: Any, target: Any, **options: Any) -> None:
            self._meet("rename")
            replace(source, target, **options)
            self._meet("renamed")

        TrainingObjective.outputs = of_event  # type: ignore[method-assign]
        torch.save, os.fsync, os.replace = saved, synced, replaced

    def _is_deadly(self, name: str) -> bool:
        return name == self._deadly and self.counts[name] == self._at

    def _meet(self, name: str) -> None:
        if self._is_deadly(name):
            os.kill(os.getpid(), signal.SIGKILL)
        self.counts[name] += 1
