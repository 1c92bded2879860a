"""A job: one model trained on one data set with one seed; what it is known by, and how it is run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..options import SettingError
from . import code
from .measure import Measured, commit, machine, measure, versions
from .solvers import DEFAULT_RANK, DEFAULT_STRENGTH, RANK, STRENGTH, solve, split

# Set for every job, whatever its table says: nobody watches it, and nothing is left of it but its numbers.
QUIET = {"show_progress": False, "state": "ERROR", "cel_checkpoint_interval": 0}


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        model: name with the suffix of its strategy; that of the solver if it has one.
        solver: whether it is one of ``SOLVERS`` and no model.
        strategy: name of the strategy, if any.
        dataset: name of the data set.
        folder: where the folder of the data set lies.
        options: all that the configuration is given, but for the seed.
        seed: of chance.
        threads: that PyTorch computes with.
        cold: training interactions below which to look apart.
        also: options of a second evaluation.
    """

    model: str
    solver: bool
    strategy: str | None
    dataset: str
    folder: str
    options: dict[str, Any]
    seed: int
    threads: int = 1
    cold: list[int] = field(default_factory=list)
    also: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def key(self) -> str:
        """What its result is kept under: a digest of what it is, the code that it runs, and its data."""
        what = {name: value for name, value in self.plain().items() if name != "folder"}
        text = json.dumps([what, versions(), code.digest(self.strategy)], sort_keys=True, default=str)
        return hashlib.sha256(f"{text}{data_digest(self.folder, self.dataset)}".encode()).hexdigest()[:32]


@cache
def data_digest(folder: str, dataset: str) -> str:
    """A digest of the bytes of a data set's files."""
    found = hashlib.sha256()
    for file in sorted(Path(folder, dataset).glob(f"{dataset}.*")):
        if file.is_file():
            found.update(f"{file.name}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    found.update(block)
    return found.hexdigest()


def run(job: Job) -> dict[str, Any]:
    """Run a job in this process; gives what is kept of it, as plain data.

    The random state is set anew, so that it does not matter what ran before.

    Raises:
        SettingError: if an option is none, or a budget cannot be kept.
    """
    torch.set_num_threads(job.threads)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory(prefix="recbole_cel-") as scratch:
        options = {**job.options, **QUIET, "seed": job.seed, "data_path": job.folder, "checkpoint_dir": scratch}
        # RecBole leaves log files where it stands.
        with _standing_in(scratch):
            try:
                measured = _solved(job, options) if job.solver else _measured(job, options)
            finally:
                _close_logs()
    return {
        "valid": measured.valid,
        "test": measured.test,
        "cold": {name: [group.interactions, group.metrics] for name, group in measured.cold.items()},
        "clusters": measured.clusters,
        "seconds": measured.seconds,
        "epochs": measured.epochs,
        "size": measured.size and measured.size._asdict(),
        "full": measured.full and measured.full._asdict(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
    }


def _measured(job: Job, options: dict[str, Any]) -> Measured:
    return measure(job.model, job.dataset, [], options, job.cold, job.also)


def _solved(job: Job, options: dict[str, Any]) -> Measured:
    strength = options.pop(STRENGTH, DEFAULT_STRENGTH)
    rank = options.pop(RANK, DEFAULT_RANK)
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not strength >= 0:
        raise SettingError(STRENGTH, f"must be a number >= 0, got {strength!r}")
    return solve(job.model, split(options, job.dataset), float(strength), rank)


@contextmanager
def _standing_in(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _close_logs() -> None:
    """Close RecBole's log file, which is removed with the folder that it is in."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()


def job_from(plain: Mapping[str, Any]) -> Job:
    """The job that :meth:`Job.plain` was made from."""
    return Job(**plain)
