"""How large the tables of the entity fields may be: one option for all strategies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..options import SettingError, shown

KEY = "embedding_budget"
WANTED = "such as 20x, '64 rows', '100000 parameters', '2 MB', or '20x training'"
BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
BYTES_PER_NUMBER = 4
# Of a trained number and its two moments, as Adam keeps them.
TRAINING_BYTES_PER_NUMBER = 3 * BYTES_PER_NUMBER


class Cost(NamedTuple):
    """What the tables that a strategy makes for a field take at one size.

    Attributes:
        parameters: numbers that are trained, with their optimiser's moments.
        codes: bytes that are stored besides, in serving and in training.
        training_codes: further bytes, in training only.
        served: bytes in serving, if these are other than the parameters and the codes.
        numbers: that are served, if there are other than those that are trained; a budget in rows or parameters
            counts them.
    """

    parameters: float
    codes: float = 0.0
    training_codes: float = 0.0
    served: float | None = None
    numbers: float | None = None

    @property
    def serving(self) -> float:
        """Bytes in serving."""
        return self.parameters * BYTES_PER_NUMBER + self.codes if self.served is None else self.served

    @property
    def training(self) -> float:
        """Bytes in training, with the optimiser's state."""
        return self.parameters * TRAINING_BYTES_PER_NUMBER + self.codes + self.training_codes


@dataclass(frozen=True)
class FieldBudget:
    """What the tables that a strategy makes for one field may take; one of the four limits is set.

    Attributes:
        field: name of the field.
        num_entities: number of ids N.
        widths: width of each table that the strategy is to make.
        rows: as many parameters as so many rows of each table.
        parameters: numbers in all tables.
        bytes: of all that serving needs: rows, and whatever is stored for each id.
        training_bytes: of all that training needs, with the optimiser's two moments for each number.
        automatic: whether nobody asked for so many rows, so that tables which are to be full need not be smaller.
    """

    field: str
    num_entities: int
    widths: tuple[int, ...]
    rows: int | None = None
    parameters: float | None = None
    bytes: float | None = None
    training_bytes: float | None = None
    automatic: bool = False

    @property
    def width(self) -> int:
        """Numbers in a row of all tables."""
        return sum(self.widths)

    @property
    def counts_bytes(self) -> bool:
        """Whether the limit is one of bytes."""
        return self.bytes is not None or self.training_bytes is not None

    @property
    def amount(self) -> float:
        """How much there is, in what :meth:`used` counts."""
        if self.rows is not None:
            return self.rows * self.width
        if self.bytes is not None:
            return self.bytes
        return (self.parameters if self.training_bytes is None else self.training_bytes) or 0.0

    def used(self, cost: Cost) -> float:
        """How much of the budget tables of this cost use."""
        if self.bytes is not None:
            return cost.serving
        if self.training_bytes is not None:
            return cost.training
        return cost.parameters if cost.numbers is None else cost.numbers

    def allows(self, cost: Cost) -> bool:
        """Whether tables of this cost are within the budget."""
        return self.used(cost) <= self.amount

    def largest(self, cost: Callable[[int], Cost], most: int) -> int:
        """The largest size from one to ``most`` whose cost, which grows with the size, is within the budget.

        Raises:
            SettingError: if there is none.
        """
        if not self.allows(cost(1)):
            raise self.too_small(cost(1))
        low, high = 1, max(1, most)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.allows(cost(middle)) else (low, middle - 1)
        return low

    def too_small(self, least: Cost) -> SettingError:
        """The error that says so, where even tables of cost ``least`` are not within the budget."""
        unit = "bytes" if self.bytes is not None else "bytes in training" if self.training_bytes else "parameters"
        share, needed = math.floor(self.amount), math.ceil(self.used(least))
        return SettingError(
            KEY, f"leaves {share} {unit} to field {self.field}, whose tables need {needed} at least"
        )


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
    amount, unit, training = _parse(budget)
    full = {name: number * sum(widths[name]) for name, number in sizes.items()}
    found = {}
    for name, number in sizes.items():
        share = full[name] / max(1, sum(full.values()))
        limits: dict[str, float] = {}
        if unit == "rows":
            limits["rows"] = int(amount)
        elif unit == "parameters":
            limits["parameters"] = amount * share
        elif unit == "x" and training is None:
            limits["parameters"] = full[name] / amount
        elif unit == "x":
            of_number = TRAINING_BYTES_PER_NUMBER if training else BYTES_PER_NUMBER
            limits["training_bytes" if training else "bytes"] = full[name] * of_number / amount
        else:
            limits["training_bytes" if training else "bytes"] = amount * share * BYTES[unit]
        found[name] = FieldBudget(name, number, tuple(widths[name]), **limits)  # type: ignore[arg-type]
    return found


def check_budget(budget: object) -> None:
    """Check a value of ``embedding_budget``.

    Raises:
        SettingError: if it is no budget.
    """
    _parse(budget)


def _parse(budget: object) -> tuple[float, str, bool | None]:
    """Amount, unit, and whether bytes are those of training, of serving, or not said."""
    text = budget.lower() if isinstance(budget, str) else ""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]+)(?:\s+(?:in\s+)?(serving|training))?\s*", text)
    try:
        amount, unit, where = float(match[1]), match[2], match[3]  # type: ignore[index]
        if not math.isfinite(amount):
            raise ValueError
    except (TypeError, ValueError):
        raise SettingError(KEY, f"must be {WANTED}, got {shown(budget)}") from None
    unit = {"row": "rows", "parameter": "parameters", "bytes": "b", "byte": "b"}.get(unit, unit)
    if unit not in {"x", "rows", "parameters", *BYTES} or amount < 1 or (unit == "rows" and amount != int(amount)):
        raise SettingError(KEY, f"must be {WANTED}, of at least one, got {shown(budget)}")
    if where and unit in {"rows", "parameters"}:
        raise SettingError(KEY, f"counts {unit}, which serving and training share; it must be {WANTED}")
    return amount, unit, where == "training" if where else None
