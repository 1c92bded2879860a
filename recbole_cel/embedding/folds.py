"""Cross-fitting: an interaction is trained on with assignments that were made without it.

An assignment is chosen on the labels of an entity's interactions. Where these are few, it repeats their labels,
and rows that are trained on the same interactions learn to trust it far too much. So the interactions are divided
into folds; each entity has, besides its assignment, one for each fold that was made without the fold, and an
interaction looks that of its own fold up. Target encoding avoids the same leak in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .assignment import ClusterAssignment


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
def cross_fitted(assignments: Iterable[ClusterAssignment], columns: Sequence[Tensor]) -> Iterator[None]:
    """Within the block, interaction ``b`` looks up what was assigned without its fold.

    Args:
        assignments: those of the model. Without folds they are looked up as ever.
        columns: id columns of the batch, from which the folds are mixed.
    """
    in_folds = [assignment for assignment in assignments if assignment.num_folds > 1]
    folds = {number: fold_of(columns, number) for number in {assignment.num_folds for assignment in in_folds}}
    # As ``without`` of each, which would take longer in a model of many levels.
    for assignment in in_folds:
        assignment.left_out.folds = folds[assignment.num_folds]
    try:
        yield
    finally:
        for assignment in in_folds:
            assignment.left_out.folds = None
