"""Which rows a model looked up, and for which ids: what evidence is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from torch import Tensor, nn


class Slot(NamedTuple):
    """One lookup of a table within :func:`record_slots`.

    Attributes:
        call: how many lookups of recorded tables were made before it.
        entities: ids that were looked up, shape ``(*)``.
        rows: what was returned, shape ``(*, d)``. It is a leaf of the graph: the gradient of a loss with
            respect to it is the gradient for each entity's *own* embedding.
    """

    call: int
    entities: Tensor
    rows: Tensor


Slots = dict[nn.Module, list[Slot]]
_slots: ContextVar[Slots | None] = ContextVar("slots", default=None)


@contextmanager
def record_slots(tables: Collection[nn.Module]) -> Iterator[Slots]:
    """Collect the lookups of ``tables`` within the block; each is cut off from the tables' parameters."""
    found: Slots = {table: [] for table in tables}
    token = _slots.set(found)
    try:
        yield found
    finally:
        _slots.reset(token)


def is_recorded(table: nn.Module) -> bool:
    """Whether lookups of ``table`` are being collected."""
    slots = _slots.get()
    return slots is not None and table in slots


def record(table: nn.Module, entities: Tensor, rows: Tensor) -> Tensor:
    """What a lookup of ``table`` returns in place of ``rows``: a leaf if it is being collected."""
    slots = _slots.get()
    if slots is None or table not in slots:
        return rows
    leaf = rows.detach().requires_grad_()
    slots[table].append(Slot(sum(map(len, slots.values())), entities, leaf))
    return leaf
