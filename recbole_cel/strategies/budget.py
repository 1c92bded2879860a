"""How large the tables of the entity fields may be: one option for all strategies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..options import SettingError, shown

KEY = "embedding_budget"
WANTED = "such as 20x, '64 rows', '100000 parameters' or '2 MB'"
BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
BYTES_PER_NUMBER = 4


@dataclass(frozen=True)
class FieldBudget:
    """What the tables that a strategy makes for one field may take; one of the three limits is set.

    Attributes:
        field: name of the field.
        num_entities: number of ids N.
        widths: width of each table that the strategy is to make.
        rows: rows of each table.
        parameters: numbers in all tables.
        bytes: of all that serving needs: rows, and whatever is stored for each id.
    """

    field: str
    num_entities: int
    widths: tuple[int, ...]
    rows: int | None = None
    parameters: float | None = None
    bytes: float | None = None

    @property
    def width(self) -> int:
        """Numbers in a row of all tables."""
        return sum(self.widths)

    def rows_within(self, bytes_for_ids: float = 0.0) -> int:
        """Rows that the budget allows, and no more than there are ids.

        Args:
            bytes_for_ids: what is stored for the ids, whatever the rows.

        Raises:
            SettingError: if it allows none.
        """
        if self.rows is not None:
            return min(self.rows, self.num_entities)
        if self.bytes is not None:
            numbers, unit = (self.bytes - bytes_for_ids) / BYTES_PER_NUMBER, "bytes"
        else:
            numbers, unit = self.parameters or 0.0, "parameters"
        rows = int(numbers // max(1, self.width))
        if rows < 1:
            least = self.width if unit == "parameters" else self.width * BYTES_PER_NUMBER + bytes_for_ids
            share = self.parameters if unit == "parameters" else self.bytes
            raise SettingError(
                KEY,
                f"leaves {share:.0f} {unit} to field {self.field}, whose tables need {least:.0f} for a single row",
            )
        return min(rows, self.num_entities)


def field_budgets(
    budget: object, sizes: Mapping[str, int], widths: Mapping[str, Sequence[int]]
) -> dict[str, FieldBudget]:
    """The share of each field, in proportion to its full tables; of ``rows``, the same number for each.

    Args:
        budget: the value of ``embedding_budget``.
        sizes: number of ids of each field.
        widths: widths of the tables of each field.

    Raises:
        SettingError: if it is no budget.
    """
    amount, unit = _parse(budget)
    full = {name: number * sum(widths[name]) for name, number in sizes.items()}
    found = {}
    for name, number in sizes.items():
        whole = FieldBudget(name, number, tuple(widths[name]))
        share = amount * full[name] / max(1, sum(full.values()))
        if unit == "x":
            found[name] = FieldBudget(name, number, whole.widths, parameters=full[name] / amount)
        elif unit == "rows":
            found[name] = FieldBudget(name, number, whole.widths, rows=int(amount))
        elif unit == "parameters":
            found[name] = FieldBudget(name, number, whole.widths, parameters=share)
        else:
            found[name] = FieldBudget(name, number, whole.widths, bytes=share * BYTES[unit])
    return found


def check_budget(budget: object) -> None:
    """Check a value of ``embedding_budget``.

    Raises:
        SettingError: if it is no budget.
    """
    _parse(budget)


def _parse(budget: object) -> tuple[float, str]:
    text = budget.lower() if isinstance(budget, str) else ""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]+)\s*", text)
    try:
        amount, unit = float(match[1]), match[2]  # type: ignore[index]
        if not math.isfinite(amount):
            raise ValueError
    except (TypeError, ValueError):
        raise SettingError(KEY, f"must be {WANTED}, got {shown(budget)}") from None
    unit = {"row": "rows", "parameter": "parameters", "bytes": "b", "byte": "b"}.get(unit, unit)
    if unit not in {"x", "rows", "parameters", *BYTES} or amount < 1 or (unit == "rows" and amount != int(amount)):
        raise SettingError(KEY, f"must be {WANTED}, of at least one, got {shown(budget)}")
    return amount, unit
