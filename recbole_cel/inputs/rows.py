"""The rows of an atomic file, split as pandas splits them for RecBole, in blocks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from ..options import SettingError
from .columns import ColumnCheck, Trouble
from .text import fault, shown

BLOCK = 1 << 15


def check_separator(separator: object) -> str:
    """``separator`` itself.

    Raises:
        SettingError: if columns cannot be told apart by it. pandas reads longer ones as regular expressions,
            RecBole as they are, so they must mean the same.
    """
    if not isinstance(separator, str) or not separator or any(mark in separator for mark in '"\r\n\0'):
        raise SettingError(
            "field_separator", f'must be text without quotes and ends of lines, such as "\\t", got {separator!r}'
        )
    if len(separator) > 1 and any(mark in separator for mark in r"\^$.|?*+()[]{}"):
        raise SettingError(
            "field_separator", f"must be one character, or several that are no signs, got {separator!r}"
        )
    return separator


class AtomicRows:
    """The rows of a file below its header.

    Args:
        path: a file that :func:`~recbole_cel.inputs.text.check_text` has passed.
        encoding: its encoding.
        separator: between columns.
        names: of the columns.
    """

    def __init__(self, path: Path, encoding: str, separator: str, names: list[str]) -> None:
        self._path, self._encoding, self._separator, self._names = path, encoding, separator, names

    def check(self, checks: dict[str, ColumnCheck]) -> int:
        """Pass all values of the named columns to their checks.

        Returns:
            The number of rows; blank lines are none.

        Raises:
            SettingError: at a row that has not as many columns as the header, at a quote that is not closed, and
                at whatever a check finds.
        """
        chosen = [(number, name) for number, name in enumerate(self._names) if name in checks]
        width, rows, start = len(self._names), 0, 0
        for block in self._blocks():
            numbers: range | list[int] = range(start, start + len(block))
            start += len(block)
            if set(map(len, block)) != {width} or width == 1:
                numbers = [number for number, row in zip(numbers, block) if not _is_blank(row)]
                block = [row for row in block if not _is_blank(row)]
                for number, row in zip(numbers, block):
                    if len(row) != width:
                        raise self._fault(Trouble(number, self._wrong_width(row)))
            rows += len(block)
            if not block:
                continue
            columns = list(zip(*block))
            for column, name in chosen:
                trouble = checks[name].add(columns[column], numbers)
                if trouble is not None:
                    raise self._fault(trouble, name)
        return rows

    def line_of(self, row: int) -> int:
        """Line of the file in which ``row``, counted from 0, begins."""
        with self._open() as file:
            if len(self._separator) > 1:
                return row + 2
            reader = self._reader(file)
            for _ in islice(reader, row + 1):
                pass
            return reader.line_num + 1

    def _fault(self, trouble: Trouble, column: str | None = None) -> SettingError:
        return fault(self._path, trouble.reason, self.line_of(trouble.row), column)

    def _wrong_width(self, row: list[str]) -> str:
        if len(row) < len(self._names):
            missing = f"; {self._names[len(row)]} is missing"
        else:
            missing = f"; {shown(row[len(self._names)])} is too much"
        return f"has {len(row)} columns, but the header has {len(self._names)}{missing}"

    def _open(self) -> TextIO:
        return self._path.open(encoding=self._encoding, newline="")

    def _reader(self, file: TextIO):  # type: ignore[no-untyped-def]  # csv has no public name for its type
        return csv.reader(file, delimiter=self._separator, strict=True)

    def _blocks(self) -> Iterator[list[list[str]]]:
        with self._open() as file:
            if len(self._separator) > 1:
                next(file)
                while lines := list(islice(file, BLOCK)):
                    yield [line.strip().split(self._separator) for line in lines]
                return
            reader = self._reader(file)
            try:
                next(reader)
                lines_before = reader.line_num
                while block := list(islice(reader, BLOCK)):
                    if reader.line_num - lines_before != len(block):
                        self._check_long_rows(block)
                    lines_before = reader.line_num
                    yield block
            except csv.Error:
                raise self._unreadable() from None

    def _check_long_rows(self, block: list[list[str]]) -> None:
        """A value may go over several lines, but one that takes in whole rows was opened by mistake."""
        for row in block:
            for value in row:
                if "\n" in value and self._separator in value:
                    raise self._unreadable(value)

    def _unreadable(self, value: str | None = None) -> SettingError:
        """Find the row again that cannot be read, or that has this value."""
        line = 1
        with self._open() as file:
            reader = self._reader(file)
            try:
                for row in reader:
                    if value is not None and value in row:
                        break
                    line = reader.line_num + 1
            except csv.Error as error:
                if "limit" in str(error):
                    return fault(self._path, f"has a value of more than {csv.field_size_limit()} characters", line)
        return fault(
            self._path,
            'has a quote (") that begins a value and ends none; take it out, or quote the value and double it',
            line,
        )


def _is_blank(row: list[str]) -> bool:
    """Whether pandas passes over the row."""
    return not row or (len(row) == 1 and not row[0].strip())
