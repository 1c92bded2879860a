"""One conversion: raw files are read, checked and written, a block of lines at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .checks import first_fault
from .counting import Distinct, hashes
from .faults import fault
from .formats import Format, Part
from .lines import numbered_lines
from .rows import Rows
from .sources import find
from .streams import Raw, opened
from .summary import Summary
from .writing import AtomicFile, Staged

# Features of users or items; 8 bytes each.
MOST_FEATURES = 1 << 25


@dataclass(frozen=True)
class Wish:
    """What a user asks for.

    Attributes:
        format: of the raw files.
        source: a file, a folder or a zip archive.
        output: the folder of data sets.
        name: of the data set.
        items: a file of items' metadata, where it is named apart.
        overwrite: whether atomic files may be replaced.
    """

    format: Format
    source: Path
    output: Path
    name: str
    items: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Done:
    """What a conversion has made.

    Attributes:
        folder: the data set's.
        lines: names and values to show.
        fields: names of columns of ``user`` and ``item``, where all interactions have a row there.
    """

    folder: Path
    lines: list[tuple[str, str]]
    fields: dict[str, list[str]]


def convert(wish: Wish) -> Done:
    """Write the atomic files of a data set.

    Raises:
        SettingError: at the first thing that is wrong with what was asked for, or with a line of a raw file;
            nothing is written then.
        OSError: if a file cannot be read or written; nothing is left then, either.
    """
    parts = wish.format.parts
    sources = find(wish.source, parts)
    if wish.items is not None:
        sources["item"] = Raw(wish.items)
    total = sum(raw.path.stat().st_size for raw in {raw.path: raw for raw in sources.values()}.values())
    known: dict[str, Distinct] = {}
    fields: dict[str, list[str]] = {}
    notes = []
    with Staged(wish.output, wish.name, wish.overwrite) as staged:
        # Without a terminal there is no bar.
        with tqdm(total=total, unit="B", unit_scale=True, desc=wish.name, disable=None) as bar:
            for kind in ("user", "item"):
                if kind in sources:
                    file = staged.file(kind, parts[kind].header)
                    known[kind] = Distinct(MOST_FEATURES)
                    rows = _rows(sources[kind], parts[kind], bar.update)
                    repeated = _write_features(rows, parts[kind], sources[kind].place, file, known[kind])
                    left_out = file.finish()
                    names = [name.partition(":")[0] for name in file.header]
                    fields[kind] = [name for name in names if name not in left_out]
                    notes.append((f".{kind}", f"{file.rows:,} rows: {', '.join(fields[kind])}"))
                    if repeated:
                        notes.append(("", f"{repeated:,} rows of ids that were there already are left out"))
                    if left_out:
                        notes.append(("", f"nothing is known of {', '.join(left_out)}"))
            summary = Summary(known)
            file = staged.file("inter", parts["inter"].header)
            for block in _rows(sources["inter"], parts["inter"], bar.update):
                columns = parts["inter"].shaped(block.columns)
                file.write(columns)
                summary.add(columns)
            file.finish()
        staged.publish()
    for kind, count in summary.unknown.items():
        if count:
            del fields[kind]
            notes.append(
                ("", f"{count:,} interactions are of {kind}s that .{kind} lacks; with it, RecBole drops them")
            )
    return Done(staged.folder, [*summary.lines(), *notes], fields)


def _rows(raw: Raw, part: Part, tell_read: Callable[[int], Any]) -> Iterator[Rows]:
    """The rows of a file, checked; at least one."""
    first = True
    with opened(raw, tell_read) as stream:
        blocks = numbered_lines(stream, raw.place, part.encoding, part.longest)
        for rows in part.read(blocks, raw.place):
            _check(rows, part, raw.place)
            if first and (trouble := part.suspicious(rows.columns)):
                raise fault(raw.place, trouble, rows.lines[0])
            first = False
            yield rows
    if first:
        raise fault(raw.place, "holds no rows")


def _write_features(rows: Iterable[Rows], part: Part, place: str, file: AtomicFile, known: Distinct) -> int:
    """Write each id once; the number of rows that are left out for that."""
    left_out = 0
    for block in rows:
        new, again = _new(block, known, part, place)
        left_out += again
        if new.lines:
            file.write(part.shaped(new.columns))
    return left_out


def _check(rows: Rows, part: Part, place: str) -> None:
    found = [first_fault(values, check) for values, check in zip(rows.columns, part.checks)]
    troubles = [trouble for trouble in found if trouble is not None]
    if troubles:
        number, reason = min(troubles, key=lambda trouble: trouble[0])
        raise fault(place, reason, rows.lines[number])


def _new(rows: Rows, seen: Distinct, part: Part, place: str) -> tuple[Rows, int]:
    """The rows whose ids, in the first column, are new, and the number of the others."""
    ids = rows.columns[0]
    new = seen.add(hashes(ids, len(ids)))
    if seen.full:
        raise fault(place, f"holds more than {MOST_FEATURES:,} ids; convert it in parts", rows.lines[0])
    if new.all():
        return rows, 0
    if not part.may_repeat:
        number = int(new.argmin())
        raise fault(place, f"the id {ids[number]} is there already; each must come once", rows.lines[number])
    kept = new.nonzero()[0]
    columns = [[column[number] for number in kept] for column in rows.columns]
    return Rows([rows.lines[number] for number in kept], columns), len(ids) - len(kept)
