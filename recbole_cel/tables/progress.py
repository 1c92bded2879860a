"""Running all jobs that some cells need, with what is kept already, and how far that has come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tqdm import tqdm

from .cache import ERROR, Cache
from .job import Job
from .plan import Cell, Result
from .pool import Done, Pool

Say = Callable[[str], None]


def say(line: str) -> None:
    """Print one line beside a progress bar."""
    tqdm.write(f"recbole_cel: {' '.join(line.split())}", file=sys.stderr)


def run_cells(
    cells: Sequence[Cell],
    cache: Cache,
    number: int,
    say: Say = say,
    after: Callable[[dict[str, Result]], None] = lambda known: None,
) -> dict[str, Result]:
    """Run what is not kept yet; gives all results by the keys of their jobs.

    A job that fails is one line, and no end of the others.

    Args:
        cells: what is wanted; a job that several of them need is run once.
        cache: where results are kept as soon as they are there.
        number: of processes.
        say: takes lines for the user.
        after: called with all that is known after each job.
    """
    runner = _Runner(cells, cache)
    waiting = runner.start()
    if not waiting:
        return runner.known
    with (
        tqdm(total=runner.total, initial=runner.done, desc="jobs", unit="job", ncols=100, smoothing=0.1) as bar,
        Pool(min(number, runner.total)) as pool,
    ):
        running = 0
        while waiting or running:
            for key, job in waiting:
                pool.submit(key, job)
            running += len(waiting)
            finished = pool.next()
            running -= 1
            waiting = runner.take(finished, say)
            after(runner.known)
            bar.total = runner.total
            bar.update(runner.done - bar.n)
    return runner.known


class _Runner:
    """What is known, what was asked for, and which cells wait for what."""

    def __init__(self, cells: Sequence[Cell], cache: Cache) -> None:
        self.known: dict[str, Result] = {}
        self._cache = cache
        self._cells = cells
        self._asked: set[str] = set()
        self._waiting: dict[str, list[Cell]] = {}

    @property
    def total(self) -> int:
        """Jobs in all, as far as can be known; what several cells need counts for each until it is there."""
        return self.done + sum(cell.left(self.known) for cell in self._cells)

    @property
    def done(self) -> int:
        """Jobs that are known."""
        return len(self.known)

    def start(self) -> list[tuple[str, Job]]:
        """The first jobs to run."""
        return [one for cell in self._cells for one in self._ask(cell)]

    def take(self, done: Done, say: Say) -> list[tuple[str, Job]]:
        """Keep a result; gives the jobs that can be run only now."""
        key, job, result = done
        cells = self._waiting.pop(key, [])
        kept = result.pop("kept", ERROR not in result)
        self.known[key] = result
        if kept:
            self._cache.put(key, job, result)
        if ERROR in result:
            cell = cells[0]
            say(f"{cell.table.name}: {cell.row.label} on {job.dataset}, seed {job.seed}: {result[ERROR]}")
        return [one for cell in cells for one in self._ask(cell)]

    def _ask(self, cell: Cell) -> list[tuple[str, Job]]:
        """The jobs of a cell that neither run nor are known, as long as what is kept leads to others."""
        new = list[tuple[str, Job]]()
        before = -1
        while before < len(self.known):
            before = len(self.known)
            for key, job in cell.jobs(self.known):
                if key in self.known:
                    continue
                waiting = self._waiting.setdefault(key, [])
                if all(one is not cell for one in waiting):
                    waiting.append(cell)
                if key in self._asked:
                    continue
                self._asked.add(key)
                kept = self._cache.get(key)
                if kept is None:
                    new.append((key, job))
                else:
                    self.known[key] = kept
                    del self._waiting[key]
        return new
