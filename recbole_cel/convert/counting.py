"""How many different values a stream has, exactly, in bounded memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray


def hashes(values: Iterable[Hashable], count: int) -> NDArray[np.int64]:
    """Python's hash of each of ``count`` values; two values have the same one once in 2**64."""
    return np.fromiter(map(hash, values), np.int64, count)


class Distinct:
    """Different values among those that were added, by their hashes.

    They are kept in sorted runs, each more than twice as long as the next, which takes 8 bytes a value, and 16 for
    the moments in which runs are merged.

    Args:
        limit: of values; with more, ``full`` is set, and all are forgotten.

    Attributes:
        count: how many there are.
        full: whether there are more than the limit.
    """

    def __init__(self, limit: int) -> None:
        self.count = 0
        self.full = False
        self._limit = limit
        self._runs: list[NDArray[np.int64]] = []

    def add(self, values: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Add hashes; which of them are new, the first of equal ones only."""
        new = np.zeros(len(values), bool)
        if self.full:
            return new
        ordered, places = np.unique(values, return_index=True)
        known = self.known(ordered)
        new[places[~known]] = True
        self.count += int((~known).sum())
        if self.count > self._limit:
            self.full = True
            self._runs.clear()
        elif not known.all():
            self._keep(ordered[~known])
        return new

    def known(self, values: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of ``values`` were added before."""
        known = np.zeros(len(values), bool)
        for run in self._runs:
            found = np.minimum(np.searchsorted(run, values), len(run) - 1)
            known |= run[found] == values
        return known

    def _keep(self, run: NDArray[np.int64]) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.concatenate((self._runs.pop(), run))
            # Two sorted halves: the stable sort merges them.
            run.sort(kind="stable")
        self._runs.append(run)
