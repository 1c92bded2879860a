"""What a table is: its rows, columns, data sets, seeds and pictures, as its YAML file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import TABLES, properties_folder
from ..inputs import yaml_files
from ..options import SettingError, shown
from . import fields as are
from .fields import checked, one_of
from .rows import Row, rows_of

SIZES = ("serving", "training", "parameters")
COSTS = ("seconds", "epochs")
DIRECTIONS = ("higher", "lower")

COLUMN: dict[str, are.Check] = {
    "name": are.TEXT,
    "metric": are.TEXT,
    "group": are.TEXT,
    "size": one_of(SIZES),
    "smaller": one_of(SIZES),
    "gain": are.TEXT,
    "cost": one_of(COSTS),
    "best": one_of(DIRECTIONS),
    "digits": ("an integer from 0 to 8", lambda v: isinstance(v, int) and 0 <= v <= 8),
}
KINDS = ("metric", "size", "smaller", "gain", "cost")
PICTURE: dict[str, are.Check] = {
    "name": are.TEXT,
    "title": are.TEXT,
    "x": are.TEXT,
    "x_label": are.TEXT,
    "y": are.TEXT,
    "y_label": are.TEXT,
    "log": are.SWITCH,
    "panels": are.ENTRIES,
    "by": are.TEXT,
}
PANEL: dict[str, are.Check] = {"title": are.TEXT, "x": are.TEXT, "x_label": are.TEXT, "group": are.TEXT}
KEYS: dict[str, are.Check] = {
    "title": are.TEXT,
    "note": are.TEXT,
    "datasets": are.TEXTS,
    "protocol": are.TEXT,
    "also": are.MAPPING,
    "columns": are.ENTRIES,
    "choose": are.TEXT,
    "choose_best": one_of(DIRECTIONS),
    "cold": are.EDGES,
    "options": are.MAPPING,
    "grid": are.LISTS,
    "seeds": are.SEEDS,
    "threads": are.COUNT,
    "rows": are.ENTRIES,
    "across": are.TEXT,
    "sheets": are.TEXT,
    "least": are.MAPPING,
    "pictures": are.ENTRIES,
}
# What a quick run may say otherwise; the rest is the table itself.
QUICK = ("datasets", "options", "grid", "seeds", "threads", "note")
LEAST: dict[str, are.Check] = {"column": are.TEXT, "size": one_of(SIZES)}


@dataclass(frozen=True)
class Column:
    """A column: one of a metric (of a group of users or items), a size, how many times smaller, a gain, a cost.

    Attributes:
        name: as it is shown.
        kind: one of ``KINDS``.
        of: the metric, the size, or the column that is gained in.
        group: such as ``user < 5``, or None for all test interactions.
        lower: whether lower is better; None where nothing is better.
        digits: after the point.
    """

    name: str
    kind: str
    of: str
    group: str | None = None
    lower: bool | None = None
    digits: int = 4


@dataclass(frozen=True)
class Table:
    """A table; see ``docs/tables.md`` for the keys of its file, which have the same names.

    ``folder`` is where that file is.
    """

    name: str
    title: str
    datasets: list[str]
    columns: list[Column]
    choose: str
    rows: list[Row]
    seeds: list[int]
    protocol: str = "label"
    choose_lower: bool = False
    note: str = ""
    cold: list[int] = field(default_factory=list)
    also: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    across: str | None = None
    sheets: str | None = None
    least: dict[str, str] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    quick: bool = False
    folder: Path = Path()

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


def names() -> list[str]:
    """All tables that there are, by the names of their files."""
    return sorted(path.stem for path in (properties_folder() / TABLES).glob("*.yaml"))


def file_of(name: str) -> Path:
    """The file of a table, by its name or as a path that ends in ``.yaml``.

    Raises:
        SettingError: if there is none, naming the nearest.
    """
    if name.endswith(".yaml"):
        return Path(name)
    known = names()
    if name not in known:
        near = are.nearest(name, known)
        raise SettingError("table", f"{shown(name)} is none of {', '.join(known)}; did you mean {near}?")
    return properties_folder() / TABLES / f"{name}.yaml"


def read_table(name: str, quick: bool = False) -> Table:
    """Read and check a table, ``quick`` as its own section for quick runs says.

    Raises:
        SettingError: at what is wrong, with the place and what would be right.
    """
    file = file_of(name)
    given = yaml_files.read(file)
    other = given.pop("quick", None) or {}
    if not are.MAPPING[1](other):
        raise SettingError(f"table {file.stem}", f"must have keys with values as quick, got {shown(other)}")
    return replace(table_of(file.stem, given, other if quick else None), folder=file.parent)


def table_of(name: str, given: Mapping[str, Any], quick: Mapping[str, Any] | None = None) -> Table:
    """A table from the keys and values of its file.

    Args:
        name: of the table.
        given: what its file says.
        quick: what it says for a quick run, if it is to be one.

    Raises:
        SettingError: at what is wrong, with the place and what would be right.
    """
    where = f"table {name}"
    found = checked(given, KEYS, where, ("title", "datasets", "columns", "choose", "rows"))
    if quick is not None:
        other = checked(quick, {key: KEYS[key] for key in QUICK}, f"{where}, quick")
        options = {**found.get("options", {}), **other.get("options", {})}
        found = {**found, **other, "options": options}
    columns = [_column(entry, f"{where}, column {number}") for number, entry in enumerate(found["columns"], 1)]
    by_name = {column.name: column for column in columns}
    if len(by_name) < len(columns):
        raise SettingError(where, "has two columns of one name; each must have its own")
    for column in columns:
        if column.kind == "gain" and column.of not in by_name:
            raise SettingError(where, f"has a gain in {column.of}, which is none of {', '.join(by_name)}")
    rows = rows_of(found, columns=list(by_name), where=where, quick=quick is not None)
    table = Table(
        name=name,
        columns=columns,
        rows=rows,
        seeds=found.get("seeds", [2020, 2021, 2022]),
        choose_lower=found.get("choose_best", "higher") == "lower",
        least=_least(found.get("least"), where, list(by_name)),
        pictures=_pictures(found.get("pictures", []), where, list(by_name)),
        quick=quick is not None,
        **{
            key: found[key]
            for key in (*("title", "datasets", "choose", "protocol", "note", "cold", "also", "threads"),
                        *("across", "sheets"))
            if key in found
        },
    )  # fmt: skip
    for key in (table.across, table.sheets):
        if key is not None and not any(key in row.values for row in rows):
            raise SettingError(where, f"has {key} in across or sheets, but no row says what it is there")
    return table


def _column(entry: Mapping[str, Any], where: str) -> Column:
    found = checked(entry, COLUMN, where, ("name",))
    kinds = [kind for kind in KINDS if kind in found]
    if len(kinds) != 1:
        raise SettingError(where, f"must have one of {', '.join(KINDS)}, got {' and '.join(kinds) or 'none'}")
    kind = kinds[0]
    defaults = {"metric": "higher", "gain": "higher", "size": None, "smaller": None, "cost": None}
    best = found.get("best", defaults[kind])
    digits = found.get("digits", {"metric": 4, "gain": 2, "size": 1, "smaller": 1, "cost": 0}[kind])
    lower = None if best is None else best == "lower"
    # RecBole's results have their metrics in small letters.
    of = found[kind].lower() if kind == "metric" else found[kind]
    return Column(found["name"], kind, of, found.get("group"), lower, digits)


def _least(entry: Mapping[str, Any] | None, where: str, columns: list[str]) -> dict[str, str]:
    if entry is None:
        return {}
    found = checked(entry, LEAST, f"{where}, least", ("column", "size"))
    _check_column(found["column"], columns, f"{where}, least")
    return found


def _pictures(entries: list[dict[str, Any]], where: str, columns: list[str]) -> list[dict[str, Any]]:
    found = []
    for number, entry in enumerate(entries, 1):
        place = f"{where}, picture {number}"
        picture = checked(entry, PICTURE, place, ("x_label", "y", "y_label"))
        _check_column(picture["y"], columns, place)
        panels = [checked(panel, PANEL, f"{place}, panel", ()) for panel in picture.get("panels", [{}])]
        for panel in panels:
            if "x" not in panel and "x" not in picture:
                raise SettingError(place, "must have x: serving, training, parameters, or an option of the rows")
        found.append({**picture, "panels": panels})
    if len({picture.get("name", "") for picture in found}) < len(found):
        raise SettingError(where, "has two pictures of one name; each must have its own")
    return found


def _check_column(name: str, columns: list[str], where: str) -> None:
    if name not in columns:
        near = are.nearest(name, columns)
        raise SettingError(where, f"has column {shown(name)}, which is none; did you mean {near}?")
