"""The rows of an atomic file, split as pandas splits them for RecBole, a block at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple, TextIO

from ..options import SettingError, shown
from .columns import ColumnCheck
from .text import fault

# Characters.
BLOCK = 1 << 20


class Block(NamedTuple):
    """Some rows: the line in which each begins, and their cells, row by row."""

    lines: Sequence[int]
    cells: list[str]


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
            "field_separator", f"must be one character, or several without special signs, got {separator!r}"
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
        rows, width = 0, len(self._names)
        for lines, cells in self._blocks():
            rows += len(lines)
            for number, name in enumerate(self._names):
                trouble = checks[name].add(cells[number::width], lines) if name in checks and lines else None
                if trouble is not None:
                    raise fault(self._path, trouble.reason, trouble.line, name)
        return rows

    def _blocks(self) -> Iterator[Block]:
        with self._path.open(encoding=self._encoding) as file:
            file.readline()
            line = 2
            while text := file.read(BLOCK):
                text += file.readline()
                if self._has_quoted(text):
                    block, line = self._quoted(text, file, line)
                else:
                    lines = text.removesuffix("\n").split("\n")
                    block, line = self._plain(lines, line), line + len(lines)
                yield block

    def _has_quoted(self, text: str) -> bool:
        """Whether a value begins with a quote; elsewhere, and between long separators, quotes mean nothing."""
        if len(self._separator) > 1 or '"' not in text:
            return False
        return text.startswith('"') or '\n"' in text or f'{self._separator}"' in text

    def _plain(self, texts: list[str], first: int) -> Block:
        """Rows without quoted values: the fast way."""
        lines: Sequence[int] = range(first, first + len(texts))
        if len(self._separator) > 1:
            # So does pandas here.
            texts = [text.strip() for text in texts]
        ends = len(self._names) - 1
        if set(map(str.count, texts, repeat(self._separator))) != {ends} or not ends:
            rows = [row for row in zip(lines, texts) if row[1].strip() or self._separator in row[1]]
            for line, text in rows:
                if text.count(self._separator) != ends:
                    raise self._wrong_width(text.split(self._separator), line)
            lines, texts = [row[0] for row in rows], [row[1] for row in rows]
        if texts and len(self._separator) == 1 and max(map(len, texts)) > csv.field_size_limit():
            for line, text in zip(lines, texts):
                if max(map(len, text.split(self._separator))) > csv.field_size_limit():
                    raise self._too_long(line)
        return Block(lines, self._separator.join(texts).split(self._separator))

    def _quoted(self, text: str, file: TextIO, first: int) -> tuple[Block, int]:
        """Rows of ``text``, of which the last may go on in ``file``; and the line after them."""
        reader = csv.reader(chain(StringIO(text), file), delimiter=self._separator, strict=True)
        last = text.count("\n") + (not text.endswith("\n"))
        lines: list[int] = []
        cells: list[str] = []
        while reader.line_num < last:
            before = reader.line_num
            line = first + before
            try:
                row = next(reader)
            except csv.Error as error:
                raise self._too_long(line) if "limit" in str(error) else self._open_quote(line) from None
            if reader.line_num > before + 1 and any("\n" in cell and self._separator in cell for cell in row):
                # A value may go over several lines, but one that takes in whole rows was opened by mistake.
                raise self._open_quote(line)
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if len(row) != len(self._names):
                raise self._wrong_width(row, line)
            lines.append(line)
            cells += row
        return Block(lines, cells), first + reader.line_num

    def _wrong_width(self, row: list[str], line: int) -> SettingError:
        if len(row) < len(self._names):
            hint = f"{self._names[len(row)]} is missing"
        else:
            hint = f"{shown(row[len(self._names)])} is too much"
        return fault(self._path, f"has {len(row)} columns, but the header has {len(self._names)}; {hint}", line)

    def _open_quote(self, line: int) -> SettingError:
        right = "take it out, or quote the value and double it"
        return fault(self._path, f'has a quote (") that begins a value and ends none; {right}', line)

    def _too_long(self, line: int) -> SettingError:
        return fault(self._path, f"has a value of more than {csv.field_size_limit()} characters", line)
