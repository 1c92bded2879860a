"""From outcomes to sheets of cells that can be written in any form."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .plan import Outcome
from .spec import Column, Table
from .statistics import marks, places, spread

TIMES = re.compile(r"\s*([0-9.]+)x (serving|training)\s*")
PAPER = "paper"
OWN_SIZE = "own size"


@dataclass(frozen=True)
class Shown:
    """One cell as it is shown.

    Attributes:
        mean: over seeds; None where it stays empty.
        spread: standard deviation over seeds, if there are several.
        digits: after the point.
        place: 1 for the best of its column, 2 for the second best, else 0.
        mark: of the paired test.
        text: in the place of a number.
    """

    mean: float | None = None
    spread: float | None = None
    digits: int = 4
    place: int = 0
    mark: str = ""
    text: str = ""


@dataclass
class Sheet:
    """What stands under one heading.

    Attributes:
        data: name of the data set.
        title: the data set, and whatever else it is of.
        headers: of all columns but the first, which has the labels.
        rows: label and cells.
        reasons: labels of rows that stay empty, with the reason.
        notes: lines below.
        won: in how many columns ours are first, and how many have values of ours and of rivals.
    """

    data: str
    title: str
    headers: list[str]
    rows: list[tuple[str, list[Shown]]]
    reasons: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    won: tuple[int, int] = (0, 0)


def values_of(outcome: Outcome, column: Column, others: Sequence[Outcome]) -> list[float] | None:
    """The values of a column by seed; None where there are none.

    Args:
        outcome: of the row.
        column: of the table.
        others: outcomes of all rows on the data set.
    """
    if column.kind == "gain":
        table = outcome.cell.table
        of = table.column(column.of)
        best, own = best_rival(others, of), values_of(outcome, of, others)
        if best is None or own is None:
            return None
        bases = values_of(best, of, others) or []
        return [100 * (value / base - 1) for value, base in zip(own, bases)] if all(bases) else None
    values = [_read(run, column) for run in outcome.runs]
    return None if not values or None in values else values  # type: ignore[return-value]


def best_rival(outcomes: Sequence[Outcome], column: Column) -> Outcome | None:
    """The best of the rows that are not ours."""
    found = [
        (statistics.mean(values), number)
        for number, outcome in enumerate(outcomes)
        if not outcome.cell.row.ours and (values := values_of(outcome, column, outcomes)) is not None
    ]
    return outcomes[(min if column.lower else max)(found)[1]] if found else None


def _read(run: dict[str, Any], column: Column) -> float | None:
    if column.kind == "metric":
        if column.group is None:
            return run["test"].get(column.of)
        return run["cold"].get(column.group, (0, {}))[1].get(column.of)
    if column.kind == "cost":
        return float(run[column.of])
    own, full = run["size"], run["full"]
    if column.kind == "size":
        # In thousands.
        return None if own is None else own[column.of] / 1000
    return None if own is None or full is None else full[column.of] / max(1, own[column.of])


def sheets(table: Table, outcomes: Sequence[Outcome]) -> list[Sheet]:
    """All sheets of a table, data set by data set."""
    found = []
    for name in dict.fromkeys(outcome.cell.data.name for outcome in outcomes):
        of_data = [outcome for outcome in outcomes if outcome.cell.data.name == name]
        kinds: list[Any] = [None]
        if table.sheets is not None:
            kinds = list(dict.fromkeys(o.cell.row.values.get(table.sheets) for o in of_data))
            kinds = [kind for kind in kinds if kind is not None]
        for kind in kinds:
            chosen = [
                o for o in of_data if kind is None or o.cell.row.values.get(table.sheets or "") in (kind, None)
            ]
            title = name if kind is None else f"{name}, {kind}"
            found.append(_flat(table, title, chosen) if table.across is None else _across(table, title, chosen))
    return found


def _flat(table: Table, title: str, outcomes: list[Outcome]) -> Sheet:
    ours = [outcome.cell.row.ours for outcome in outcomes]
    headers, columns = list[str](), list[list[Shown]]()
    for column in table.columns:
        headers.append(column.name)
        columns.append(_column(column, [values_of(o, column, outcomes) for o in outcomes], ours))
        papers = [_paper(outcome, column) for outcome in outcomes]
        if any(one.mean is not None or one.text for one in papers):
            headers.append(f"{column.name} ({PAPER})")
            columns.append(papers)
    # What a sheet is of is in its title.
    labels = [outcome.cell.row.series if table.sheets else outcome.cell.row.label for outcome in outcomes]
    sheet = Sheet(
        outcomes[0].cell.data.name,
        title,
        headers,
        [(label, list(cells)) for label, cells in zip(labels, zip(*columns))],
    )
    sheet.reasons = _reasons(outcomes)
    sheet.won = _won(columns, ours)
    groups = [column.group for column in table.columns if column.group is not None]
    if groups:
        sheet.notes.append(_interactions(groups, outcomes))
    if table.least:
        sheet.notes.append(_least(table, outcomes))
    return sheet


def _across(table: Table, title: str, outcomes: list[Outcome]) -> Sheet:
    """The first column of the table, with one value of the rows across.

    Rows without that value stand wherever they fit, or in a column of their own.
    """
    key, column = table.across or "", table.columns[0]
    across = list(dict.fromkeys(o.cell.row.values[key] for o in outcomes if key in o.cell.row.values))
    lines = list(dict.fromkeys(outcome.cell.row.series for outcome in outcomes))
    by_place: dict[tuple[str, Any], list[Outcome]] = {}
    for outcome in outcomes:
        by_place.setdefault((outcome.cell.row.series, outcome.cell.row.values.get(key)), []).append(outcome)
    reference = next((o for o in outcomes if o.cell.row.reference and o.runs), None)
    ours = [any(o.cell.row.ours for o in outcomes if o.cell.row.series == line) for line in lines]
    columns = []
    for value in [None, *across]:
        fitting = {line: _fitting(by_place.get((line, None), []), value, reference) for line in lines}
        cells = [_best(by_place.get((line, value)) or fitting[line]) for line in lines]
        values = [None if cell is None else values_of(cell, column, outcomes) for cell in cells]
        columns.append(_column(column, values, ours))
    rows = [(line, [of_column[number] for of_column in columns]) for number, line in enumerate(lines)]
    headers = [f"{column.name}, {OWN_SIZE}", *map(str, across)]
    if all(cell.mean is None for cell in columns[0]):
        headers, rows = headers[1:], [(line, cells[1:]) for line, cells in rows]
    return Sheet(outcomes[0].cell.data.name, title, headers, rows, _reasons(outcomes), won=_won(columns, ours))


def _fitting(outcomes: Sequence[Outcome], budget: object, reference: Outcome | None) -> list[Outcome]:
    """Rows without a budget of their own that take no more than ``budget``, such as ``10x serving``."""
    match = TIMES.fullmatch(budget) if isinstance(budget, str) else None
    if reference is None or match is None:
        return []
    whole = _bytes(reference, match[2])
    return [o for o in outcomes if o.runs and _bytes(o, match[2]) <= whole / float(match[1])]


def _bytes(outcome: Outcome, what: str) -> float:
    found = outcome.mean(lambda run: run["size"] and run["size"][what])
    return math.inf if found is None else found


def _best(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Of rows that could stand in one place, the one that the validation split would choose."""
    found = [(o.mean(lambda run: run["valid"].get(o.cell.table.choose)), o) for o in outcomes]  # noqa: B023
    scored = [(score, o) for score, o in found if score is not None]
    if not scored:
        return None
    lower = scored[0][1].cell.table.choose_lower
    return (min if lower else max)(scored, key=lambda pair: pair[0])[1]


def _column(column: Column, values: list[list[float] | None], ours: list[bool]) -> list[Shown]:
    means = [None if of_row is None else statistics.mean(of_row) for of_row in values]
    stars, best, second = [""] * len(values), set[int](), set[int]()
    if column.lower is not None and column.kind == "metric":
        stars = marks(values, ours, column.lower)
        best, second = places(means, column.lower, column.digits)
    spreads = [
        None if of_row is None or column.kind in ("size", "smaller") else spread(of_row) for of_row in values
    ]
    return [
        Shown(mean, deviation, column.digits, 1 if number in best else 2 if number in second else 0, star)
        for number, (mean, deviation, star) in enumerate(zip(means, spreads, stars))
    ]


def _won(columns: Sequence[Sequence[Shown]], ours: Sequence[bool]) -> tuple[int, int]:
    """In how many columns ours are first, or share the first place, and in how many they have a rival."""
    first = rivals = 0
    for cells in columns:
        shown = {own for cell, own in zip(cells, ours) if cell.mean is not None and any(c.place for c in cells)}
        if len(shown) == 2:
            rivals += 1
            first += any(cell.place == 1 and own for cell, own in zip(cells, ours))
    return first, rivals


def paper_value(outcome: Outcome, column: Column) -> float | str | None:
    """What is published for the cell: one value for all data sets, or by their names."""
    given = outcome.cell.row.paper.get(column.name)
    value = given.get(outcome.cell.data.name) if isinstance(given, dict) else given
    return value if isinstance(value, (int, float, str)) else None


def _paper(outcome: Outcome, column: Column) -> Shown:
    value = paper_value(outcome, column)
    if value is None:
        return Shown()
    return Shown(text=value) if isinstance(value, str) else Shown(float(value), digits=column.digits)


def _reasons(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [
        (outcome.cell.row.label, outcome.reason)
        for outcome in outcomes
        if outcome.reason and not (outcome.cell.row.model is None and outcome.cell.row.solver is None)
    ]


def _interactions(groups: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """How many test interactions the groups have, which are the same for all rows."""
    numbers = []
    for group in dict.fromkeys(groups):
        found = [outcome.mean(lambda run: run["cold"].get(group, [0])[0]) for outcome in outcomes]  # noqa: B023
        number = next((one for one in found if one is not None), 0)
        numbers.append(f"{group}: {number:.0f}")
    return f"Test interactions, mean over seeds: {'; '.join(numbers)}."


def _least(table: Table, outcomes: Sequence[Outcome]) -> str:
    """The smallest of our rows that is not below the best rival."""
    column, size = table.column(table.least["column"]), table.least["size"]
    best = best_rival(outcomes, column)
    if best is None:
        return "No rival was run."
    base = statistics.mean(values_of(best, column, outcomes) or [0.0])
    fitting = []
    for outcome in outcomes:
        values = values_of(outcome, column, outcomes)
        own = outcome.mean(lambda run: run["size"] and run["size"][size])
        if not outcome.cell.row.ours or values is None or own is None:
            continue
        mean = statistics.mean(values)
        if (mean <= base) if column.lower else (mean >= base):
            full = outcome.mean(lambda run: run["full"] and run["full"][size]) or 0.0
            fitting.append((own, outcome.cell.row.label, mean, full / max(1.0, own)))
    than = f"the best rival, {best.cell.row.label} ({base:.{column.digits}f})"
    if not fitting:
        return f"None of ours reaches {than}."
    own, label, mean, ratio = min(fitting)
    return (
        f"Smallest of ours that reaches {than}: {label}, {mean:.{column.digits}f} with {own / 1000:.1f} kB "
        f"in {size}, {ratio:.0f} times less than full tables."
    )
