"""The first line of an atomic file: ``name:type`` for each column."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

from ..options import shown
from .text import fault

TYPES = ("token", "token_seq", "float", "float_seq")
# What other tools call them.
TYPE_NAMES = {
    "int": "float",
    "integer": "float",
    "double": "float",
    "number": "float",
    "str": "token",
    "string": "token",
    "category": "token",
    "id": "token",
    "bool": "float",
    "list": "token_seq",
}


class Column(NamedTuple):
    """Name and type of a column."""

    name: str
    type: str


def read_header(path: Path, encoding: str, separator: str) -> list[Column]:
    """The columns of a file that :func:`check_text` has passed.

    Raises:
        SettingError: if the line is missing or malformed, or names a column twice or a type that there is not.
    """
    with path.open(encoding=encoding) as file:
        line = file.readline()
    if not line:
        raise fault(path, "is empty; it must begin with a line of name:type for each column")
    head = line.removesuffix("\n")
    if not head.strip():
        raise fault(path, "is blank; the first line must be name:type for each column", 1)
    cells = head.split(separator)
    if not any(":" in cell for cell in cells):
        raise fault(path, f"must be name:type for each column, such as user_id:token, but begins {shown(head)}", 1)
    columns: list[Column] = []
    for number, cell in enumerate(cells, start=1):
        columns.append(_column(path, cell, number, separator))
        if columns[-1].name in [other.name for other in columns[:-1]]:
            raise fault(path, "is there twice; names of columns must differ", 1, columns[-1].name)
    return columns


def _column(path: Path, cell: str, number: int, separator: str) -> Column:
    place = f"{number}"
    name, colon, kind = cell.partition(":")
    if not cell.strip():
        raise fault(path, "has no name; is there a separator too many at the end of the line?", 1, place)
    if cell.startswith('"'):
        raise fault(path, f"is {shown(cell)}; names must not be quoted", 1, place)
    if not colon or not name.strip() or ":" in kind:
        hint = next((f"; field_separator is {separator!r}" for other in ",;|\t " if other in cell), "")
        raise fault(path, f"is {shown(cell)}, which is not of the form name:type{hint}", 1, place)
    if name != name.strip():
        raise fault(path, f"is {shown(name)}, with a space before or after it; names must have none", 1, place)
    if kind not in TYPES:
        plain = kind.strip().lower()
        near = difflib.get_close_matches(plain, TYPES, n=1, cutoff=0.6)
        likely = TYPE_NAMES.get(plain) or (near[0] if near else None)
        hint = f"; did you mean {likely}?" if likely else ""
        raise fault(path, f"has type {shown(kind)}, but types are {', '.join(TYPES)}{hint}", 1, name.strip())
    return Column(name, kind)
