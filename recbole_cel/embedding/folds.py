"""Cross-fitting: an interaction is trained on with assignments that were made without it.

An assignment is chosen on the labels of an entity's interactions. Where these are few, it repeats their labels,
and rows that are trained on the same interactions learn to trust it far too much. So the interactions are divided
into folds; each entity has, besides its assignment, one for each fold that was made without the fold, and an
interaction looks that of its own fold up. Target encoding avoids the same leak in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
# Each fold costs an assignment of every entity; beyond 256, a byte for each interaction would not hold it.
MAX_FOLDS = 64


class LeakError(RuntimeError):
    """An interaction would be trained on with what was chosen by its own label."""


def fold_of(columns: Sequence[Tensor], folds: int) -> Tensor:
    """Fold of each interaction, int64 of shape ``(n,)``, mixed from its ids alone.

    Args:
        columns: id columns of the interactions, each of shape ``(n,)``.
        folds: number of folds F.
    """
    return mixed(columns) % folds


def mixed(columns: Sequence[Tensor]) -> Tensor:
    """A number that looks like chance for each row of some ``columns`` ``(n,)``, int64 >= 0 of shape ``(n,)``."""
    found = torch.zeros_like(columns[0], dtype=torch.int64)
    for column in columns:
        # Multiply and fold the high bits back, so that every bit of every id counts; int64 wraps around.
        found = (found + column.long() + 1) * 0x2545F4914F6CDD1D
        found = found ^ ((found >> 29) & 0x7FFFFFFFF)
    return found & 0x7FFFFFFFFFFFFFFF


class _Batch:
    """The interactions of one pass through a model; their folds are mixed once for each number of folds."""

    def __init__(self, columns: Sequence[Tensor], fold: int | None) -> None:
        self._columns = columns
        self._fold = fold
        self._folds: dict[int, Tensor] = {}
        self._held: dict[Hashable, list[tuple[Tensor, Any]]] = {}

    def folds(self, number: int) -> Tensor:
        if number not in self._folds:
            own = fold_of(self._columns, number)
            self._folds[number] = own if self._fold is None else torch.full_like(own, self._fold)
        return self._folds[number]

    def once(self, what: Hashable, entities: Tensor, make: Callable[[], T]) -> T:
        held = self._held.setdefault(what, [])
        for ids, made in held:
            if _same(ids, entities):
                return made
        # A copy, for ids may be changed in place; where it would not be compared, the tensor itself.
        held.append((entities.clone() if entities.device.type == "cpu" else entities, make()))
        return held[-1][1]


def _same(held: Tensor, entities: Tensor) -> bool:
    """Whether ids are the same, as far as that can be told without waiting for a GPU."""
    if held.device.type != "cpu":
        return held is entities
    return held.dtype == entities.dtype and torch.equal(held, entities)


_batch: ContextVar[_Batch | None] = ContextVar("batch", default=None)


@contextmanager
def cross_fitted(columns: Sequence[Tensor], fold: int | None = None) -> Iterator[None]:
    """Passes the folds of a batch to the lookups within the block, through models that know nothing of folds.

    Interaction ``b`` then looks up what was assigned without its fold.

    Args:
        columns: id columns of the batch, from which the folds are mixed.
        fold: what all interactions leave out instead of their own fold, if given.
    """
    token = _batch.set(_Batch(columns, fold))
    try:
        yield
    finally:
        _batch.reset(token)


def folds_of_batch(number: int) -> Tensor | None:
    """The fold, among so many, that each interaction of the present batch leaves out, shape ``(B,)``.

    None outside of :func:`cross_fitted`.
    """
    batch = _batch.get()
    return None if batch is None else batch.folds(number)


def once_a_batch(what: Hashable, entities: Tensor, make: Callable[[], T]) -> T:
    """What ``make`` makes of ``entities`` ``(*)``, made but once within the present batch.

    A model looks the same ids up in its rows and in its biases. Outside of :func:`cross_fitted` nothing is kept.

    Args:
        what: tells what is made from other things.
        entities: ids, which on a GPU do not change within the batch.
        make: makes it.
    """
    batch = _batch.get()
    return make() if batch is None else batch.once(what, entities, make)
