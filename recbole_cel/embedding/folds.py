"""Cross-fitting: an interaction is trained on with assignments that were made without it.

An assignment is chosen on the labels of an entity's interactions. Where these are few, it repeats their labels,
and rows that are trained on the same interactions learn to trust it far too much. So the interactions are divided
into folds; each entity has, besides its assignment, one for each fold that was made without the fold, and an
interaction looks that of its own fold up. Target encoding avoids the same leak in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class LeakError(RuntimeError):
    """An interaction would be trained on with what was chosen by its own label."""


def fold_of(columns: Sequence[Tensor], folds: int) -> Tensor:
    """Fold of each interaction, int64 of shape ``(n,)``, mixed from its ids alone.

    Args:
        columns: id columns of the interactions, each of shape ``(n,)``.
        folds: number of folds F.
    """
    mixed = torch.zeros_like(columns[0], dtype=torch.int64)
    for column in columns:
        # Multiply and fold the high bits back, so that every bit of every id counts; int64 wraps around.
        mixed = (mixed + column.long() + 1) * 0x2545F4914F6CDD1D
        mixed = mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)
    return (mixed & 0x7FFFFFFFFFFFFFFF) % folds


class _Batch:
    """The interactions of one pass through a model; their folds are mixed once for each number of folds."""

    def __init__(self, columns: Sequence[Tensor], fold: int | None) -> None:
        self._columns = columns
        self._fold = fold
        self._folds: dict[int, Tensor] = {}

    def folds(self, number: int) -> Tensor:
        if number not in self._folds:
            own = fold_of(self._columns, number)
            self._folds[number] = own if self._fold is None else torch.full_like(own, self._fold)
        return self._folds[number]


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
