"""From a table to its jobs: for each row and data set, trials to choose from, and then the other seeds."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..strategies.budget import KEY as BUDGET
from .data_sets import DataSet
from .job import Job
from .rows import Row
from .solvers import RANK, STRENGTH
from .spec import Table

Result = dict[str, Any]
Known = Mapping[str, Result]
"""Results by the keys of jobs."""


@dataclass(eq=False)
class Cell:
    """One row on one data set.

    Attributes:
        table: that it is of.
        row: of the table.
        data: the data set, with its protocol.
    """

    table: Table
    row: Row
    data: DataSet
    seeds: list[int] = field(default_factory=list)
    _later: dict[int, list[tuple[str, Job]]] = field(default_factory=dict)

    @property
    def reason(self) -> str | None:
        """Why it stays empty, if that is known before anything is run."""
        if self.row.model is None and self.row.solver is None:
            return "published figures only"
        return self.row.reason

    @cached_property
    def choices(self) -> list[dict[str, Any]]:
        """What is tried."""
        grid = self.row.grid
        if self.row.solver is not None:
            grid = {key: values for key, values in grid.items() if key in (STRENGTH, RANK)}
        return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]

    @cached_property
    def trials(self) -> list[tuple[str, Job]]:
        """The jobs of all choices on the first seed, with their keys; none if the cell stays empty."""
        if self.reason is not None:
            return []
        return [_keyed(self._job(choice, self.seeds[0])) for choice in self.choices]

    @property
    def at_most(self) -> int:
        """Number of its jobs, if no trial fails."""
        return len(self.trials) + len(self.seeds) - 1 if self.trials else 0

    def is_hopeless(self, known: Known) -> bool:
        """Whether the first trial has shown that the budget cannot be kept, whatever else is chosen."""
        return bool(self.trials) and known.get(self.trials[0][0], {}).get("error", "").startswith(f"{BUDGET} ")

    def chosen(self, known: Known) -> int | None:
        """Which choice has the best validation metric; None while a trial is to be run, or if all failed."""
        found = [known.get(key) for key, _ in self.trials]
        if any(result is None for result in found):
            return None
        scores = {
            number: result["valid"][self.table.choose]
            for number, result in enumerate(found)
            if result is not None and "error" not in result and self.table.choose in result["valid"]
        }
        if not scores:
            return None
        return (min if self.table.choose_lower else max)(scores, key=lambda number: scores[number])

    def jobs(self, known: Known) -> list[tuple[str, Job]]:
        """All jobs that can be named now, with their keys: of the other seeds only when the choice is made."""
        if self.is_hopeless(known):
            return self.trials[:1]
        if len(self.trials) == 1:  # nothing to choose
            return [*self.trials, *self._others(0)]
        if self.trials and self.trials[0][0] not in known:
            return self.trials[:1]
        number = self.chosen(known)
        return [*self.trials, *([] if number is None else self._others(number))]

    def left(self, known: Known) -> int:
        """Number of its jobs that are not known yet, if no trial fails."""
        if not self.trials or self.is_hopeless(known):
            return 0
        unknown = sum(key not in known for key, _ in self.trials)
        return unknown + len(self.seeds) - 1 if unknown else sum(key not in known for key, _ in self.jobs(known))

    def outcome(self, known: Known) -> Outcome:
        """What came of it."""
        number = self.chosen(known)
        if number is None:
            errors = [known[key]["error"] for key, _ in self.trials if "error" in known.get(key, {})]
            errors = errors or ["was not run"] * any(key not in known for key, _ in self.trials)
            missing = f"it has no validation metric {self.table.choose}"
            return Outcome(self, reason=self.reason or next(iter(errors), missing))
        jobs = [self.trials[number], *self._others(number)]
        results = [known.get(key, {"error": "was not run"}) for key, _ in jobs]
        failed = [result["error"] for result in results if "error" in result]
        if failed:
            # The mean of some seeds only would not be what the others have.
            return Outcome(self, choice=self.choices[number], reason=failed[0])
        return Outcome(self, self.choices[number], results)

    def _others(self, number: int) -> list[tuple[str, Job]]:
        if number not in self._later:
            self._later[number] = [_keyed(self._job(self.choices[number], seed)) for seed in self.seeds[1:]]
        return self._later[number]

    def _job(self, choice: Mapping[str, Any], seed: int) -> Job:
        row, solver = self.row, self.row.solver
        return Job(
            solver or row.full_model,
            solver is not None,
            row.strategy,
            self.data.name,
            self.data.folder,
            {**self.data.options, **row.options, **choice},
            seed,
            self.table.threads,
            self.table.cold,
            self.table.also,
        )


@dataclass(eq=False)
class Outcome:
    """What came of a cell.

    Attributes:
        cell: the cell.
        choice: the options that were chosen.
        runs: results by seed; empty if there are none.
        reason: why there are none.
    """

    cell: Cell
    choice: dict[str, Any] = field(default_factory=dict)
    runs: list[Result] = field(default_factory=list)
    reason: str | None = None

    def mean(self, read: Callable[[Result], Any]) -> float | None:
        """Mean of a number over seeds; None if a run lacks it."""
        values = [read(run) for run in self.runs]
        return None if not values or any(v is None for v in values) else statistics.mean(values)


def cells(table: Table, data: Mapping[str, DataSet]) -> list[Cell]:
    """All cells of a table on the data sets that are there, data set by data set."""
    return [
        Cell(table, row, data[name], table.seeds) for name in table.datasets if name in data for row in table.rows
    ]


def with_threads(table: Table, threads: int | None) -> Table:
    """The table with another number of threads."""
    return table if threads is None else replace(table, threads=threads)


def _keyed(job: Job) -> tuple[str, Job]:
    return job.key(), job
