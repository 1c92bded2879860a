"""What is checked of the values of a column, block by block, as pandas and RecBole will read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..options import shown

# What pandas reads as missing.
MISSING = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)
TRUTHS = ("True", "TRUE", "true", "False", "FALSE", "false")
# RecBole's name of the id that stands for none.
PADDING = "[PAD]"
# RecBole computes in single precision.
LARGEST = float(np.finfo(np.float32).max)


class Trouble(NamedTuple):
    """What is wrong, and the line of the row."""

    line: int
    reason: str


class ColumnCheck:
    """Values of a column that RecBole takes as they are.

    Attributes:
        missing: how many values are missing.
        first_missing: line of the first of them.
    """

    def __init__(self) -> None:
        self.missing = 0
        self.first_missing = 0

    def add(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        """Look at the next values, which are in rows of ``lines``; what is wrong with the first bad one."""
        return None

    def _count_missing(self, lines: Sequence[int]) -> None:
        if lines and not self.missing:
            self.first_missing = lines[0]
        self.missing += len(lines)


class Tokens(ColumnCheck):
    """Names of anything."""

    def add(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        """RecBole's own name for padding is taken; missing values are counted."""
        if not MISSING.isdisjoint(values):
            self._count_missing([line for line, value in zip(lines, values) if value in MISSING])
        if PADDING in values:
            return Trouble(
                lines[values.index(PADDING)], f"{PADDING} is what RecBole calls a missing id; rename it"
            )
        return None


class Ids(Tokens):
    """Names of users, items or entities, none of which may be missing."""

    def add(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        """Nor may they be what pandas reads as missing."""
        if not MISSING.isdisjoint(values):
            line, value = next((line, value) for line, value in zip(lines, values) if value in MISSING)
            what = f"the id {shown(value)} is read as a missing one" if value else "the id is missing"
            return Trouble(line, f"{what}; every row needs its ids, so name it otherwise or leave the row out")
        return super().add(values, lines)


class IdsOnce(Ids):
    """Ids of which each has one row.

    Attributes:
        repeated: how many rows are of ids that have one already.
        first_repeated: line of the first of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.repeated = self.first_repeated = 0
        self._seen: set[str] = set()

    def add(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        """They are counted."""
        for line, value in zip(lines, values):
            if value in self._seen:
                self.first_repeated = self.first_repeated or line
                self.repeated += 1
            self._seen.add(value)
        return super().add(values, lines)


class Floats(ColumnCheck):
    """Finite numbers; RecBole fills those that are missing with the mean.

    Attributes:
        largest: the largest magnitude.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0.0
        self._numbers = False
        self._truth: Trouble | None = None

    def add(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        """Text, infinite numbers, and a mixture of numbers with true and false are wrong."""
        try:
            numbers = np.fromiter(map(float, values), float, len(values))
        except ValueError:
            return self._add_slowly(values, lines)
        holes = np.isnan(numbers)
        if holes.any():
            self._count_missing([lines[number] for number in holes.nonzero()[0]])
        self._numbers |= not holes.all()
        self.largest = max(self.largest, float(np.abs(numbers[~holes]).max(initial=0.0)))
        large = np.abs(numbers) > LARGEST
        if large.any():
            first = int(large.argmax())
            return Trouble(lines[first], f"{shown(values[first])} is no finite number of single precision")
        return self._mixed()

    def _add_slowly(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        self._count_missing([line for line, value in zip(lines, values) if value in MISSING])
        for line, value in zip(lines, values):
            if value in MISSING:
                continue
            if value in TRUTHS:
                self._truth = self._truth or Trouble(line, f"{value} is among numbers; write 0 or 1")
                continue
            try:
                number = float(value)
            except ValueError:
                return Trouble(line, f"{shown(value)} is no number{_number_hint(value)}")
            if not abs(number) <= LARGEST:
                if number != number:
                    self._count_missing([line])
                    continue
                return Trouble(line, f"{shown(value)} is no finite number of single precision")
            self.largest = max(self.largest, abs(number))
            self._numbers = True
        return self._mixed()

    def _mixed(self) -> Trouble | None:
        return self._truth if self._numbers else None


class FloatLists(ColumnCheck):
    """Lists of finite numbers.

    Args:
        separator: between the numbers of a list.
    """

    def __init__(self, separator: str | None) -> None:
        super().__init__()
        self._separator = separator

    def add(self, values: Sequence[str], lines: Sequence[int]) -> Trouble | None:
        """Text and numbers that are not finite are wrong; a list may be empty."""
        for line, value in zip(lines, values):
            if value in MISSING:
                continue
            for part in filter(None, value.split(self._separator)):
                try:
                    finite = abs(float(part)) <= LARGEST
                except ValueError:
                    return Trouble(line, f"{shown(part)} is no number{_number_hint(part)}")
                if not finite:
                    return Trouble(line, f"{shown(part)} is no finite number of single precision")
        return None


def _number_hint(value: str) -> str:
    if not value.strip():
        return "; leave the value out where there is none"
    try:
        float(value.replace(",", "."))
    except ValueError:
        return "; a column of text is of type token"
    return "; write a point, not a comma"
