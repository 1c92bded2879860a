"""Rows of a table: one entry of its file can stand for many, one for each combination of some values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..config import properties_folder, property_keys
from ..inputs import keys, yaml_files
from ..model import get_model, own_options
from ..options import SettingError, shown
from ..settings import CELSettings
from ..strategies import check_budget, get_strategy, strategies
from ..strategies.budget import KEY as BUDGET
from . import fields as are
from .fields import checked, either, filled
from .solvers import SOLVERS

ALL = "all"
STRATEGY, MODEL = "strategy", "model"
ROW: dict[str, are.Check] = {
    "label": are.TEXT,
    MODEL: are.TEXT,
    "solver": are.one_of([*SOLVERS]),
    STRATEGY: are.TEXT,
    "without": are.TEXTS,
    "each": ("keys with lists of values, or strategy: all", lambda v: _is_each(v)),
    "files": are.TEXTS,
    "options": are.MAPPING,
    "grid": are.LISTS,
    "paper": are.MAPPING,
    "ours": are.SWITCH,
    "emphasis": are.SWITCH,
    "reference": are.SWITCH,
    "series": are.TEXT,
    "group": are.TEXT,
    "values": are.MAPPING,
    "quick": either(are.SWITCH, are.MAPPING),
}
# What a quick run may say otherwise.
QUICK_ROW = ("each", "options", "grid", "without")


def _is_each(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and (value[key] == ALL if key == STRATEGY and isinstance(value[key], str) else
                                  isinstance(value[key], list) and len(value[key]) > 0)
        for key in value
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        label: as it is shown.
        model: base name such as ``FM``; None for a row of figures that others published, or of a solver.
        solver: what fits it in the place of a model.
        strategy: what takes the place of full tables; None for RecBole's own.
        options: of all of its runs.
        grid: values that are tried, by option.
        paper: published values by column.
        ours: whether it is held against the best of the others.
        emphasis: whether pictures draw it strongly, as they do ours.
        reference: whether its size is what budgets of its sheet count from.
        series: its line in a picture.
        group: the panel in which it is shown; None for all.
        values: what the entry was combined from, for sheets and pictures.
        reason: why it cannot be run, if that is known.
    """

    label: str
    model: str | None = None
    solver: str | None = None
    strategy: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    paper: dict[str, Any] = field(default_factory=dict)
    ours: bool = False
    emphasis: bool = False
    reference: bool = False
    series: str = ""
    group: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def full_model(self) -> str:
        """The name of the model with the suffix of its strategy."""
        suffix = "" if self.strategy is None else f"_{get_strategy(self.strategy).suffix}"
        return f"{self.model}{suffix}"


def rows_of(table: Mapping[str, Any], columns: list[str], where: str, quick: bool) -> list[Row]:
    """All rows of a table.

    Args:
        table: what its file says.
        columns: names of its columns.
        where: for messages.
        quick: whether it is a quick run, which may leave rows out.

    Raises:
        SettingError: at what is wrong, with the place and what would be right.
    """
    rows = list[Row]()
    for number, entry in enumerate(table["rows"], 1):
        place = f"{where}, row {number}"
        found = checked(entry, ROW, place)
        other = found.pop("quick", None)
        if quick and other is False:
            continue
        if quick:
            found["grid"] = {}
            if isinstance(other, dict):
                changed = checked(other, {key: ROW[key] for key in QUICK_ROW}, f"{place}, quick")
                found = {**found, **changed}
                for key in ("each", "options"):
                    found[key] = {**entry.get(key, {}), **changed.get(key, {})}
        rows += _expanded(found, table, columns, place)
    labels = [row.label for row in rows]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise SettingError(where, f"has two rows with the label {shown(twice)}; each must have its own")
    return rows


def _expanded(entry: Mapping[str, Any], table: Mapping[str, Any], columns: list[str], where: str) -> list[Row]:
    each = dict(entry.get("each", {}))
    if each.get(STRATEGY) == ALL:
        left_out = entry.get("without", [])
        for name in left_out:
            get_strategy(name)
        each[STRATEGY] = [name for name in strategies() if name not in left_out]
    elif "without" in entry:
        raise SettingError(where, "has without, which goes with each: {strategy: all}")
    paper = entry.get("paper", {})
    for name in paper:
        if name not in columns:
            raise SettingError(where, f"has paper: {name}, which is no column; did you mean "
                                      f"{are.nearest(name, columns)}?")  # fmt: skip
    files = _read_files(entry.get("files", []), where)
    rows = []
    for values in (dict(zip(each, one)) for one in itertools.product(*each.values())):
        model, strategy = (values.get(key, entry.get(key)) for key in (MODEL, STRATEGY))
        solver = entry.get("solver")
        own = {key: value for key, value in values.items() if key not in (MODEL, STRATEGY)}
        options = {**table.get("options", {}), **files, **entry.get("options", {}), **own}
        known = {key: value for key, value in ((MODEL, model), (STRATEGY, strategy)) if value is not None}
        known |= own
        for key, value in entry.get("values", {}).items():
            known[key] = filled(value, known, where) if isinstance(value, str) else value
        label = filled(entry.get("label", ", ".join(f"{{{key}}}" for key in known)), known, where)
        if not label:
            raise SettingError(where, "must have a label")
        rows.append(
            Row(
                label=label,
                model=model,
                solver=solver,
                strategy=strategy,
                options=options,
                grid=entry.get("grid", table.get("grid", {})),
                paper=paper,
                ours=entry.get("ours", False),
                emphasis=entry.get("emphasis", False),
                reference=entry.get("reference", False),
                series=filled(entry.get("series", label), known, where),
                group=filled(entry["group"], known, where) if "group" in entry else None,
                values=known,
                reason=_check(model, solver, strategy, options, {"grid": table.get("grid", {}), **entry}, where),
            )
        )
    return rows


def _read_files(names: list[str], where: str) -> dict[str, Any]:
    """Options of some of our property files."""
    found: dict[str, Any] = {}
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SettingError(where, f"must name files in properties/ such as cel/paper.yaml, got {shown(name)}")
        found |= yaml_files.read(properties_folder() / name)
    return found


def _check(
    model: str | None,
    solver: str | None,
    strategy: str | None,
    options: Mapping[str, Any],
    entry: Mapping[str, Any],
    where: str,
) -> str | None:
    """Check all that can be known of a row before it is run; gives why it cannot be run, if it is for its budget.

    A budget that a strategy cannot keep leaves a cell empty, as a budget that is not known does.
    """
    if model is not None and solver is not None:
        raise SettingError(where, "has model and solver; one of them is right")
    if model is None and solver is None and not entry.get("paper"):
        raise SettingError(where, "must have model, solver, or figures of the paper")
    if model is None:
        return None
    # Of what is tried, the first values stand for all.
    options = {**options, **{key: values[0] for key, values in entry["grid"].items()}}
    keys.check_keys(options, where)
    CELSettings.from_config(options)
    kind = None if strategy is None else get_strategy(strategy)
    if kind is not None:
        own_options(kind, options)
    task = options.get("task")
    get_model(f"{model}{'' if kind is None else f'_{kind.suffix}'}", task)
    for key, near in keys.unknown_keys(options, property_keys()).items():
        hint = f"; did you mean {near}?" if near else ""
        raise SettingError(where, f"has the option {key}, which neither RecBole nor recbole_cel has{hint}")
    if options.get(BUDGET) is not None:
        try:
            check_budget(options[BUDGET])
        except SettingError as error:
            return str(error)
    return None
