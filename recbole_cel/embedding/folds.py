"""Cross-fitting: an interaction is trained on with assignments that were made without it.

An assignment is chosen on the labels of an entity's interactions. Where these are few, it repeats their labels,
and rows that are trained on the same interactions learn to trust it far too much. So the interactions are divided
into folds; each entity has, besides its assignment, one for each fold that was made without the fold, and an
interaction looks that of its own fold up. Target encoding avoids the same leak in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from .assignment import ClusterAssignment, without


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


@contextmanager
def cross_fitted(
    assignments: Iterable[ClusterAssignment], columns: Sequence[Tensor], fold: int | None = None
) -> Iterator[None]:
    """Within the block, interaction ``b`` looks up what was assigned without its fold.

    Args:
        assignments: those of the model. Without folds they are looked up as ever.
        columns: id columns of the batch, from which the folds are mixed.
        fold: what all interactions leave out instead of their own fold, if given.
    """
    by_number: dict[int, list[ClusterAssignment]] = {}
    for assignment in assignments:
        if assignment.num_folds > 1:
            by_number.setdefault(assignment.num_folds, []).append(assignment)
    with ExitStack() as stack:
        for number, some in by_number.items():
            own = fold_of(columns, number)
            stack.enter_context(without(some, own if fold is None else torch.full_like(own, fold)))
        yield
