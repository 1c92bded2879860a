"""Does it still come out as it was? A few cells of a table that is kept are run again and compared."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..options import SettingError
from .layout import values_of
from .plan import Cell, Outcome
from .progress import Say
from .spec import Table
from .statistics import spread

# What single precision and another machine's order of sums may change: so much in any case, and at most so much,
# for seeds are the same, however far they are from each other.
LEAST_SPREAD, MOST_SPREAD = 5e-4, 2e-3


class Kept(NamedTuple):
    """A cell of a table that is kept.

    Attributes:
        dataset: name of the data set.
        label: of the row.
        choice: the options that were chosen.
        seeds: that it was run with.
        values: of the first column, by seed.
    """

    dataset: str
    label: str
    choice: dict[str, object]
    seeds: list[int]
    values: list[float]


def read(file: Path, table: Table) -> list[Kept]:
    """The cells of a CSV file that have values in the table's first column.

    Raises:
        SettingError: if there is no such file, or it is none of ours.
    """
    if not file.is_file():
        raise SettingError("--check", f"needs {file}, which is not there; run the table first")
    column = f"{table.columns[0].name} by seed"
    found = []
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                if line[column]:
                    values = [float(value) for value in line[column].split()]
                    seeds = [int(seed) for seed in line["seeds"].split()]
                    choice = json.loads(line["chosen"])
                    found.append(Kept(line["dataset"], line["row"], choice, seeds, values))
    except (KeyError, TypeError, ValueError, UnicodeDecodeError):
        raise SettingError("--check", f"cannot read {file}; it must be as run_tables.py wrote it") from None
    return found


def pick(kept: Sequence[Kept], cells: Sequence[Cell], number: int) -> list[tuple[Kept, Cell]]:
    """Some of the kept cells that the table still has, far from each other, with their choice as the only one."""
    present = {(cell.data.name, cell.row.label): cell for cell in cells if cell.reason is None}
    pairs = [(one, present[one.dataset, one.label]) for one in kept if (one.dataset, one.label) in present]
    number = min(number, len(pairs))
    places = [round((place + 0.5) * len(pairs) / number - 0.5) for place in range(number)]
    return [(pairs[place][0], _as_chosen(*pairs[place])) for place in places]


def _as_chosen(kept: Kept, cell: Cell) -> Cell:
    again = Cell(cell.table, cell.row, cell.data, kept.seeds)
    again.choices = [dict(kept.choice)]
    return again


def compare(pairs: Sequence[tuple[Kept, Outcome]], say: Say) -> bool:
    """Say of each cell what it was and what it is; gives whether all are within their spread."""
    well = True
    for kept, outcome in pairs:
        column = outcome.cell.table.columns[0]
        now = values_of(outcome, column, [outcome])
        what = f"{outcome.cell.table.name}, {kept.dataset}, {kept.label}: {column.name}"
        if now is None:
            say(f"{what} was {statistics.mean(kept.values):.4f}, and is none: {outcome.reason}")
            well = False
            continue
        allowed = min(max(spread(kept.values) or 0.0, LEAST_SPREAD), MOST_SPREAD)
        before, after = statistics.mean(kept.values), statistics.mean(now)
        within = abs(after - before) <= allowed
        well = well and within
        say(f"{what} was {before:.4f} ± {allowed:.4f}, is {after:.4f}: {'' if within else 'not '}as it was")
    return well
