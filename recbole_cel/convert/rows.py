"""Rows of raw files: lines that are split at a separator, or as CSV with a header."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..options import SettingError
from .faults import fault
from .lines import Lines

MOST_SHOWN = 8


class Rows(NamedTuple):
    """Successive rows: the line of each, and the texts of each column."""

    lines: Sequence[int]
    columns: list[list[str]]


def separated(blocks: Iterable[Lines], place: str, separator: str, names: Sequence[str]) -> Iterator[Rows]:
    """Rows of a file without a header, in which quotes mean nothing.

    Args:
        blocks: its lines.
        place: how errors name the file.
        separator: between columns.
        names: of all columns, for errors.

    Raises:
        SettingError: at a line with another number of columns, after the rows before it.
    """
    for first, texts in blocks:
        rows = [text.split(separator) for text in texts]
        yield from _even(rows, first, place, names, separator)


def with_header(
    blocks: Iterable[Lines], place: str, needed: Sequence[str], ignored: Sequence[str] = ()
) -> Iterator[Rows]:
    """Rows of a CSV file with a header: the columns ``needed``, in this order.

    Args:
        blocks: its lines; a quoted value must end in the line in which it begins.
        place: how errors name the file.
        needed: columns that must be there, in any order.
        ignored: columns that may be there.

    Raises:
        SettingError: if the header has not the columns that it must have, or has others, or comes again; at a
            quote that does not end, or a line with another number of columns, after the rows before it.
    """
    header: list[str] | None = None
    order: list[int] = []
    for first, texts in blocks:
        if header is None:
            head, texts, first = texts[0], texts[1:], first + 1
            header = _cells(head, place, 1)
            order = _order(header, place, needed, ignored)
        again = texts.index(head) if head in texts else len(texts)
        rows = []
        trouble: SettingError | None = None
        quoted = any('"' in text for text in texts)
        for number, text in enumerate(texts[:again]):
            try:
                rows.append(_cells(text, place, first + number) if quoted else text.split(","))
            except SettingError as error:
                trouble = error
                break
        for block in _even(rows, first, place, header, ","):
            yield Rows(block.lines, [block.columns[number] for number in order])
        if trouble is not None:
            raise trouble
        if again < len(texts):
            raise fault(place, "is the header again; take it out", first + again)


def _even(rows: list[list[str]], first: int, place: str, names: Sequence[str], separator: str) -> Iterator[Rows]:
    width = len(names)
    good = len(rows)
    if set(map(len, rows)) - {width}:
        good = next(number for number, row in enumerate(rows) if len(row) != width)
    if good:
        yield Rows(range(first, first + good), [list(column) for column in zip(*rows[:good])])
    if good < len(rows):
        row = rows[good]
        names = names if width <= MOST_SHOWN else [*names[: MOST_SHOWN - 1], "..."]
        expected = separator.join(names)
        raise fault(place, f"has {len(row)} columns, but there must be {width}: {expected}", first + good)


def _cells(text: str, place: str, line: int) -> list[str]:
    """The values of a line of CSV."""
    if '"' not in text:
        return text.split(",")
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise fault(place, f"is no CSV ({error}); a quoted value must end in its line", line) from None
    return rows[0]


def _order(header: list[str], place: str, needed: Sequence[str], ignored: Sequence[str]) -> list[int]:
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise fault(place, f"names {twice[0]!r} twice; the header must name each column once", 1)
    if set(needed) - set(header) or set(header) - {*needed, *ignored}:
        raise fault(place, f"must be the header {','.join(needed)}, got {','.join(header)[:80]!r}", 1)
    return [header.index(name) for name in needed]
