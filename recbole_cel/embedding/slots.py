"""Which rows a model looked up, and for which ids: what evidence is made of.

Lookups are *recorded* to differentiate outputs by them alone, cut off from the tables; or *watched* while the
model is trained, whose backward pass then leaves their gradients behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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


class Lookup(NamedTuple):
    """One lookup within :func:`watch_lookups`, of several tables at once.

    Attributes:
        tables: n tables.
        entities: ids that were looked up in each, B in all; None is all of them.
        rows: what was returned, shape ``(B, n, d)``; a backward pass leaves the gradient by it in its ``grad``.
    """

    tables: Sequence[nn.Module]
    entities: Sequence[Tensor | None]
    rows: Tensor


_watched: ContextVar[list[Lookup] | None] = ContextVar("watched", default=None)


@contextmanager
def watch_lookups() -> Iterator[list[Lookup]]:
    """Collect all lookups of clustered tables within the block that gradients will flow back to."""
    found = list[Lookup]()
    token = _watched.set(found)
    try:
        yield found
    finally:
        _watched.reset(token)


def watch(tables: Sequence[nn.Module], entities: Sequence[Tensor | None], rows: Tensor) -> None:
    """Take note of a lookup, if somebody watches."""
    found = _watched.get()
    if found is not None and rows.requires_grad:
        rows.retain_grad()
        found.append(Lookup(tables, entities, rows))
