"""What a converted data set holds, counted while it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from .counting import Distinct, hashes

# Pairs take 270 MB then, and twice as much for a moment.
MOST_PAIRS = 1 << 25
MOST_IDS = 1 << 24


class Summary:
    """Counts of interactions.

    Args:
        known: users and items of which there are features, as ``user`` and ``item``.

    Attributes:
        unknown: how many interactions are of others, by the same names.
    """

    def __init__(self, known: Mapping[str, Distinct]) -> None:
        self.rows = 0
        self.unknown = dict.fromkeys(known, 0)
        self._known = known
        self._users, self._items, self._pairs = Distinct(MOST_IDS), Distinct(MOST_IDS), Distinct(MOST_PAIRS)
        self._ratings: dict[float, str] = {}
        self._times: list[float] = []

    def add(self, columns: Sequence[Sequence[str]]) -> None:
        """Count interactions, given by columns: user, item, rating, timestamp."""
        users, items, ratings, times = columns
        count = len(users)
        self.rows += count
        ids = {"user": hashes(users, count), "item": hashes(items, count)}
        for kind, known in self._known.items():
            self.unknown[kind] += count - int(known.known(ids[kind]).sum())
        self._users.add(ids["user"])
        self._items.add(ids["item"])
        self._pairs.add(hashes(zip(users, items), count))
        shown = {float(text): text for text in set(ratings)} | self._ratings
        self._ratings = {number: shown[number] for number in (min(shown), max(shown))}
        moments = [*map(float, set(times)), *self._times]
        self._times = [min(moments), max(moments)]

    def lines(self) -> list[tuple[str, str]]:
        """Names and values, as they are shown."""
        ratings = [self._ratings[number] for number in sorted(self._ratings)]
        # A pair that comes three times is two duplicates.
        twice = f"{self.rows - self._pairs.count:,}"
        return [
            ("users", _count(self._users, MOST_IDS)),
            ("items", _count(self._items, MOST_IDS)),
            ("interactions", f"{self.rows:,}"),
            ("ratings", f"{ratings[0]} to {ratings[-1]}"),
            ("time", " to ".join(_day(time) for time in self._times)),
            ("repeated pairs", f"not counted, over {MOST_PAIRS:,} pairs" if self._pairs.full else twice),
        ]


def _count(found: Distinct, most: int) -> str:
    return f"over {most:,}" if found.full else f"{found.count:,}"


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d")
