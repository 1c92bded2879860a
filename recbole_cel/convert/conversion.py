"""One conversion: raw files are read, checked and written, a block of lines at a time."""

from __future__ import annotations

from collections.abc import Callable
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
        fields: of users and items, as ``user`` or ``item`` and the names of columns.
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
    sources = find(
        wish.source, parts if wish.items is None else {kind: parts[kind] for kind in parts if kind != "item"}
    )
    if wish.items is not None:
        sources["item"] = Raw(wish.items)
    total = sum(raw.path.stat().st_size for raw in {raw.path: raw for raw in sources.values()}.values())
    summary, notes, fields = Summary(), [], {}
    with Staged(wish.output, wish.name, wish.overwrite) as staged:
        # Without a terminal there is no bar.
        with tqdm(total=total, unit="B", unit_scale=True, desc=wish.name, disable=None) as bar:
            # Small files first: what is wrong there shows soon.
            for kind in sorted(sources, key=("user", "item", "inter").index):
                file = staged.file(kind, parts[kind].header)
                repeated = _write(
                    sources[kind], parts[kind], file, summary if kind == "inter" else None, bar.update
                )
                left_out = file.finish()
                if kind == "inter":
                    continue
                fields[kind] = [name.partition(":")[0] for name in file.header]
                fields[kind] = [name for name in fields[kind] if name not in left_out]
                notes.append((f".{kind}", f"{file.rows:,} rows: {', '.join(fields[kind])}"))
                if repeated:
                    notes.append(("", f"{repeated:,} rows of ids that were there already are left out"))
                if left_out:
                    notes.append(("", f"nothing is known of {', '.join(left_out)}"))
        staged.publish()
    return Done(staged.folder, [*summary.lines(), *notes], fields)


def _write(
    raw: Raw, part: Part, file: AtomicFile, summary: Summary | None, tell_read: Callable[[int], Any]
) -> int:
    """Read, check and write one file; the number of rows that are left out as repeated."""
    seen = None if part.repeated is None else Distinct(MOST_FEATURES)
    first, left_out = True, 0
    with opened(raw, tell_read) as stream:
        blocks = numbered_lines(stream, raw.place, part.encoding, part.longest)
        for rows in part.read(blocks, raw.place):
            _check(rows, part, raw.place)
            if first and (trouble := part.suspicious(rows.columns)):
                raise fault(raw.place, trouble, rows.lines[0])
            first = False
            if seen is not None:
                rows, again = _new(rows, seen, part, raw.place)
                left_out += again
            columns = part.shaped(rows.columns)
            file.write(columns)
            if summary is not None:
                summary.add(columns)
    if first:
        raise fault(raw.place, "holds no rows")
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
    if not part.repeated:
        number = int(new.argmin())
        raise fault(place, f"the id {ids[number]} is there already; each must come once", rows.lines[number])
    kept = new.nonzero()[0]
    columns = [[column[number] for number in kept] for column in rows.columns]
    return Rows([rows.lines[number] for number in kept], columns), len(ids) - len(kept)
