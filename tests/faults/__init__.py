"""Faults by the thousand: what goes in is broken at random, and what comes out is counted by outcome."""

from __future__ import annotations

import importlib
from types import ModuleType

# Kinds of faults, each a module here, and their shares of all trials.
KINDS = {
    "options": 0.398,
    "data": 0.25,
    "checkpoints": 0.20,
    "numbers": 0.04,
    "kills": 0.067,
    "storage": 0.04,
    "together": 0.005,
}
SEEDS = (0, 1, 2)
OUTCOMES = ("right", "one line", "traceback", "hang", "crash", "code", "silent")


def module_of(kind: str) -> ModuleType:
    """The module of a kind: ``SECONDS``, ``prepare(folder)`` and ``trial(random, folder)``."""
    return importlib.import_module(f"{__name__}.{kind}")


def trials_of(kind: str, trials: int) -> int:
    """How many of ``trials`` in all are of ``kind``, for each seed; one at least."""
    return max(1, round(KINDS[kind] * trials / len(SEEDS)))
