"""Directions along which the entities of two fields differ together (GPCA of a pair of fields).

As long as the entities of a field share a row, the gradient of an entity of another field holds its main effect
only, however tastes differ: a saddle that no split of one field leaves. There, the second derivative of the loss
by the row of a user and the row of an item is the residual of their interaction, times the derivative of the
output by both rows. So its directions of descent are the leading singular pairs of the matrix of residuals.
Entries are divided by the square roots of both entities' interactions, so that active entities do not hide the
others (as in regularised spectral clustering; Qin and Rohe, 2013).

Whether a direction is more than noise is told by interactions that had no say in it: with each fold of them left
out, the residuals of the fold should have the sign of the product of both entities' coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .residuals import Residuals
from .singular import SingularPairs, SparseMatrix, singular_pairs

# Directions that are looked for.
MAX_DIRECTIONS = 16
# By how many standard deviations the left-out residuals have to agree with a direction.
MIN_AGREEMENT = 3.0
# Nothing more is looked for where the first fold agrees with its first direction by less; in noise it mostly does.
MIN_FIRST_AGREEMENT = 1.0


class Directions(NamedTuple):
    """Directions of a pair of fields that passed the test, the strongest first.

    Attributes:
        left: signs of the left field's entities, without each fold and last with all; bool of shape
            ``(N, F + 1, k)``, True where the coordinate is positive.
        right: the same of the right field's entities.
        agreement: by how many standard deviations left-out residuals agreed with each direction that was tested,
            the last of which may have failed.
        effect: shape ``(k,)``, how much outputs should rise where both signs are equal, and fall elsewhere, by
            the left-out interactions.
    """

    left: Tensor
    right: Tensor
    agreement: tuple[float, ...]
    effect: Tensor


def find_directions(
    left: Tensor,
    right: Tensor,
    sizes: tuple[int, int],
    folds: Tensor,
    num_folds: int,
    residuals_without: Callable[[int | None], Residuals],
    seed: int,
) -> Directions:
    """Find the directions of a pair of fields, and those without each fold.

    The directions without a fold are found from nothing but the interactions outside of it, and then turned to lie
    as near as can be to those with all (orthogonal Procrustes), for all are to share rows.

    Args:
        left: shape ``(n,)``, entity of the left field in each interaction.
        right: shape ``(n,)``, of the right field.
        sizes: number of entities of both.
        folds: shape ``(n,)``.
        num_folds: number of folds F.
        residuals_without: residuals of all interactions, told by those outside of a fold, or by all for None.
        seed: of the blocks that the power iterations start with.
    """
    matrix = SparseMatrix(left, right, sizes)
    without = []
    outside = Residuals(*torch.zeros(2, len(left), device=left.device))
    agreement, variance = torch.zeros(2, MAX_DIRECTIONS, dtype=torch.float64, device=left.device)
    for fold in range(num_folds):
        found = residuals_without(fold)
        judged = (folds == fold).nonzero().squeeze(1)
        pairs = _pairs(matrix, left, right, found.pull * (folds != fold), folds != fold, seed)
        without.append(pairs)
        for kept, values in zip(outside, found):
            kept[judged] = values[judged]
        pull = found.pull[judged].double()
        signs = pairs.left.sign()[left[judged]] * pairs.right.sign()[right[judged]]
        agreement[: signs.shape[1]] += pull @ signs.double()
        variance[: signs.shape[1]] += pull.square() @ signs.double().square()
        if fold == 0 and float(agreement[0]) < MIN_FIRST_AGREEMENT * float(variance[0]) ** 0.5:
            break
    if len(without) < num_folds:
        first = float(agreement[0]) / max(float(variance[0]) ** 0.5, torch.finfo(variance.dtype).tiny)
        nobody = [torch.zeros(size, num_folds + 1, 0, dtype=torch.bool, device=left.device) for size in sizes]
        return Directions(nobody[0], nobody[1], (first,), variance.new_zeros(0))
    tests = (agreement / variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()).tolist()
    passed = next((n for n, test in enumerate(tests) if test < MIN_AGREEMENT), len(tests))
    whole = _pairs(matrix, left, right, residuals_without(None).pull, torch.ones_like(folds), seed)
    number = min(passed, *(pairs.left.shape[1] for pairs in (*without, whole)))
    turned = [_turned(pairs, whole, number) for pairs in without]
    turned.append((whole.left[:, :number], whole.right[:, :number]))
    of_left, of_right = (torch.stack([side > 0 for side in sides], dim=1) for sides in zip(*turned))
    effect = _effect((of_left, of_right), left, right, folds, outside)
    return Directions(of_left, of_right, tuple(tests[: passed + 1]), effect)


def _pairs(
    matrix: SparseMatrix, left: Tensor, right: Tensor, pull: Tensor, told: Tensor, seed: int
) -> SingularPairs:
    """Singular pairs of the residuals ``pull`` ``(n,)``, for entities as active as they are in ``told``."""
    number = float(told.sum())
    scale = [
        # The mean is added: else the first directions would be those of a few entities of few interactions.
        (torch.bincount(ids, told.to(pull.dtype), size) + number / size).rsqrt()
        for ids, size in zip((left, right), matrix.size)
    ]
    values = pull * scale[0][left] * scale[1][right]
    generator = torch.Generator().manual_seed(seed)
    return singular_pairs(*matrix.with_values(values), MAX_DIRECTIONS, generator)


def _turned(pairs: SingularPairs, whole: SingularPairs, number: int) -> tuple[Tensor, Tensor]:
    """The first ``number`` coordinates, turned towards those of ``whole``; one turn for both fields."""
    left, right = pairs.left[:, :number], pairs.right[:, :number]
    likeness = left.T @ whole.left[:, :number] + right.T @ whole.right[:, :number]
    one, _, other = torch.linalg.svd(likeness)
    turn = one @ other
    return left @ turn, right @ turn


def _effect(signs: Sequence[Tensor], left: Tensor, right: Tensor, folds: Tensor, outside: Residuals) -> Tensor:
    """Newton steps of the outputs along each direction, by left-out interactions, shape ``(k,)``."""
    total = outside.curvature.sum().clamp(min=torch.finfo(outside.curvature.dtype).tiny)
    steps = []
    for direction in range(signs[0].shape[2]):
        alike = signs[0][left, folds, direction] == signs[1][right, folds, direction]
        steps.append((outside.pull * torch.where(alike, 1.0, -1.0)).sum() / total)
    return torch.stack(steps) if steps else total.new_zeros(0)
