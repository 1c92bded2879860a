"""Shrinkage: a choice made by little evidence leans on how entities with as little of it fare on average.

The losses of an entity's few interactions under each cluster say little about its other interactions. Empirical
Bayes adds the mean losses of the interactions of entities with as much evidence, as if so many more had been seen.
How many is what would have served such entities best on interactions left out; none, if their own say it all.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Entities with as much evidence: 0, 1, 2, 3-4, 5-8, 9-16, 17-32 and more interactions in the view.
EVIDENCE = (1, 2, 3, 5, 9, 17, 33)
NUM_KINDS = len(EVIDENCE) + 1
# How many average interactions may be added to a view's own.
STRENGTHS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# So many cells of each kind are enough to tell how many.
MAX_SCORED = 1 << 12
# The averages of a kind are themselves shrunk to those of the kind with more evidence, which count as so many.
FROM_NEXT_KIND = 100.0


def kind_of(evidence: Tensor) -> Tensor:
    """Which amount of evidence each number of interactions is, from 0 to ``NUM_KINDS - 1``, in the same shape."""
    return torch.bucketize(evidence, torch.tensor(EVIDENCE, device=evidence.device), right=True)


def first_of_each(kind: Tensor, limit: int) -> Tensor:
    """Positions of the first ``limit`` of each kind, in the order of ``kind`` ``(C,)``, shape ``(S,)``."""
    order = kind.argsort(stable=True)
    sizes = torch.bincount(kind, minlength=NUM_KINDS)
    within = torch.arange(len(kind), device=kind.device) - (sizes.cumsum(0) - sizes)[kind[order]]
    return order[within < limit].sort().values


def others_than(table: Tensor) -> Tensor:
    """For sums by fold ``(F, ...)``, those over the other folds, and last over all: shape ``(F + 1, ...)``."""
    total = table.sum(dim=0, keepdim=True)
    return torch.cat([total - table, total])


def shrinkage(
    fold: Tensor, kind: Tensor, losses: Tensor, left_out: Tensor, sizes: Tensor, folds: int
) -> tuple[Tensor, Tensor]:
    """What to add to the losses of views, by the cells of some entities.

    Args:
        fold: shape ``(C,)``, the fold of each cell, which a view leaves out.
        kind: shape ``(C,)``, how much evidence that view has.
        losses: shape ``(C, K)``, summed losses of the view under each cluster, up to a constant.
        left_out: shape ``(C, K)``, float64, summed losses of the cell's own interactions.
        sizes: shape ``(C,)``, number of the cell's interactions.
        folds: number of folds F.

    Returns:
        The pull, shape ``(F + 1, kinds, K)``, of the type of ``losses``: what is added to the losses of views that
        leave out each fold, and last none; and the best cluster of entities without evidence, ``(F + 1,)``. A view
        is told by the other folds alone.
    """
    clusters = losses.shape[1]
    group = fold * NUM_KINDS + kind
    sums = left_out.new_zeros(folds * NUM_KINDS, clusters).index_add_(0, group, left_out)
    numbers = left_out.new_zeros(folds * NUM_KINDS, 1).index_add_(0, group, sizes.double().unsqueeze(1))
    sums, numbers = sums.view(folds, NUM_KINDS, clusters), numbers.view(folds, NUM_KINDS, 1)
    pull, usual = [], []
    scored = first_of_each(kind, MAX_SCORED)
    for own in range(folds + 1):
        # How strong the pull on the views without fold ``own`` is, is not told by that fold either.
        told = (torch.arange(folds, device=fold.device) != own).view(-1, 1, 1)
        means = _means(sums * told, numbers * told)
        seen = scored[fold[scored] != own]
        average, inside, outside = means[fold[seen], kind[seen]].to(losses.dtype), losses[seen], left_out[seen]
        scores = left_out.new_zeros(NUM_KINDS, len(STRENGTHS))
        for number, strength in enumerate(STRENGTHS):
            preferred = (inside + strength * average).argmin(dim=1, keepdim=True)
            scores[:, number].index_add_(0, kind[seen], outside.gather(1, preferred).squeeze(1))
        strengths = means.new_tensor(STRENGTHS)[scores.argmin(dim=1)]
        pull.append(strengths.unsqueeze(1) * means[-1])
        usual.append(means[-1, 0].argmin())
    return torch.stack(pull).to(losses.dtype), torch.stack(usual)


def _means(sums: Tensor, numbers: Tensor) -> Tensor:
    """Mean losses by amount of evidence, told by the other folds, and last by all: shape ``(F + 1, kinds, K)``.

    Args:
        sums: shape ``(F, kinds, K)``, summed losses of the cells of each fold.
        numbers: shape ``(F, kinds, 1)``, their interactions.
    """
    sums, numbers = others_than(sums), others_than(numbers)
    means = torch.zeros_like(sums)
    following = torch.zeros_like(sums[:, 0])
    for number in reversed(range(NUM_KINDS)):
        weight = numbers[:, number] + FROM_NEXT_KIND
        following = (sums[:, number] + FROM_NEXT_KIND * following) / weight
        # Only differences between clusters mean anything.
        following = following - following.mean(dim=1, keepdim=True)
        means[:, number] = following
    return means
