"""What a format says of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..checks import Check
from ..lines import Lines
from ..rows import Rows

Columns = list[list[str]]
INTERACTIONS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
# Bytes of a line. Those of objects hold whole reviews, and lists of what was bought together; one of literals may
# take 500 times its size while it is read.
LINE = 1 << 16
LITERAL = 1 << 19
OBJECT = 1 << 22


@dataclass(frozen=True)
class Part:
    """A raw file that becomes an atomic file.

    Attributes:
        files: patterns of its name in a folder or an archive, without ``.gz``; a file that fits several parts
            is of the last.
        header: names and types of the atomic file's columns.
        read: its lines and place to rows of raw columns.
        checks: of the raw columns, one each.
        shaped: raw columns that have passed to atomic ones.
        encoding: ``utf-8`` or ``latin-1``.
        longest: bytes that a line may have.
        may_repeat: whether rows of a user or item after its first are left out, rather than an error.
        suspicious: says what is wrong with the first rows as a whole, or None.
    """

    files: tuple[str, ...]
    header: tuple[str, ...]
    read: Callable[[Iterable[Lines], str], Iterator[Rows]]
    checks: tuple[Check, ...]
    shaped: Callable[[Columns], Columns] = lambda columns: columns
    encoding: str = "utf-8"
    longest: int = LINE
    may_repeat: bool = False
    suspicious: Callable[[Columns], str | None] = lambda columns: None


@dataclass(frozen=True)
class Format:
    """A raw format.

    Attributes:
        help: what it is, in a line.
        parts: its files by the atomic file that they become: inter, user, item.
        name: of the data set, where the format is of one.
    """

    help: str
    parts: dict[str, Part]
    name: str | None = None
