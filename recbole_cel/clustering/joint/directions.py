"""Directions along which the entities of two fields differ together (GPCA of a pair of fields).

As long as the entities of a field share a row, the gradient of an entity of another field holds its main effect
only, however tastes differ: a saddle that no split of one field leaves. There, the second derivative of the loss
by the row of a user and the row of an item is the residual of their interaction, times the derivative of the
output by both rows. So its directions of descent are the leading singular pairs of the matrix of residuals.
Entries are divided by the square roots of both entities' interactions, so that active entities do not hide the
others (as in regularised spectral clustering; Qin and Rohe, 2013).

Whether a direction is more than noise is decided by interactions that had no say in it: with each fold of them
left out, the residuals of the fold should have the sign of the product of both entities' coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...evidence.bounds import at_once
from ...evidence.grouping import sum_by_id
from .residuals import Residuals
from .singular import Interactions, SingularPairs, singular_pairs

# Directions that are looked for at first, and, where all of these are more than noise, then.
FEW_DIRECTIONS = 4
MAX_DIRECTIONS = 16
# By how many standard deviations the left-out residuals have to agree with a direction.
MIN_AGREEMENT = 3.0
# Nothing more is looked for where the first fold agrees with its first direction by less; in noise it mostly does.
MIN_FIRST_AGREEMENT = 1.0
# Of the strength of a direction, the least of others that are turned with it, and rounds that look for the turn.
ALIKE = 0.9
TURNS = 20
# Interactions of which signs are looked up at once.
CHUNK = 1 << 18


class Directions(NamedTuple):
    """Directions of a pair of fields that passed the test, the strongest first.

    Attributes:
        left: signs of the left field's entities, without each fold and last with all; bool of shape
            ``(N, F + 1, k)``, True where the coordinate is positive. Entities of which a view knows no interaction
            have that of most.
        right: the same of the right field's entities.
        agreement: by how many standard deviations left-out residuals agreed with each direction that was tested,
            the last of which may have failed.
        effect: shape ``(k, k)``, how much outputs should rise where the sign of a left and a right direction are
            equal, and fall elsewhere, by the left-out interactions.
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
        residuals_without: residuals of all interactions, by biases of those outside of a fold, or of all for None.
        seed: of the blocks that the power iterations start with.
    """
    matrix = Interactions(left, right, sizes)
    for number in (FEW_DIRECTIONS, MAX_DIRECTIONS):
        found = _find(matrix, left, right, folds, num_folds, residuals_without, seed, number)
        if len(found.effect) < number:
            break
    return found


def _find(
    matrix: Interactions,
    left: Tensor,
    right: Tensor,
    folds: Tensor,
    num_folds: int,
    residuals_without: Callable[[int | None], Residuals],
    seed: int,
    number: int,
) -> Directions:
    """Find ``number`` directions at most."""
    without = []
    outside: Residuals | None = None
    agreement, variance = torch.zeros(2, number, dtype=torch.float64, device=left.device)
    tiny = torch.finfo(variance.dtype).tiny
    for fold in range(num_folds):
        found, judged = residuals_without(fold), folds == fold
        pairs = _pairs(matrix, left, right, found.residual.masked_fill(judged, 0.0), ~judged, seed, number)
        without.append(pairs)
        places = judged.nonzero().squeeze(1)
        if outside is None:
            outside = Residuals(*map(torch.zeros_like, found))
        for whole_part, values in zip(outside, found):
            whole_part[places] = values[places]
        residual = found.residual[places].double()
        signs = pairs.left.sign()[left[places]] * pairs.right.sign()[right[places]]
        agreement[: signs.shape[1]] += residual @ signs.double()
        variance[: signs.shape[1]] += residual.square() @ signs.double().square()
        first = float(agreement[0]) / max(float(variance[0]) ** 0.5, tiny)
        if fold == 0 and first < MIN_FIRST_AGREEMENT:
            empty = [found.residual.new_zeros(size, num_folds + 1, 0, dtype=torch.bool) for size in matrix.size]
            return Directions(empty[0], empty[1], (first,), found.residual.new_zeros(0, 0))
    assert outside is not None  # there are two folds at least
    tests = (agreement / variance.clamp(min=tiny).sqrt()).tolist()
    passed = next((n for n, test in enumerate(tests) if test < MIN_AGREEMENT), len(tests))
    whole = _pairs(matrix, left, right, residuals_without(None).residual, torch.ones_like(folds), seed, number)
    kept = min(passed, *(pairs.left.shape[1] for pairs in (*without, whole)))
    whole = _balanced(whole, kept)
    turned = [_turned(pairs, whole, kept) for pairs in without]
    turned.append((whole.left, whole.right))
    of_left, of_right = (
        _signs(sides, _known(ids, size, folds, num_folds))
        for sides, ids, size in zip(zip(*turned), (left, right), matrix.size)
    )
    effect = _effect((of_left, of_right), left, right, folds, outside)
    return Directions(of_left, of_right, tuple(tests[: passed + 1]), effect)


def _pairs(
    matrix: Interactions, left: Tensor, right: Tensor, residual: Tensor, weight: Tensor, seed: int, most: int
) -> SingularPairs:
    """The first ``most`` singular pairs of residuals ``residual`` ``(n,)``; ``weight`` says what counts."""
    number = float(weight.sum())
    scale = [
        # The mean is added: else the first directions would be those of a few entities of few interactions.
        (sum_by_id(ids, weight.to(residual.dtype), size) + number / size).rsqrt()
        for ids, size in zip((left, right), matrix.size)
    ]
    values = residual * scale[0][left] * scale[1][right]
    generator = torch.Generator().manual_seed(seed)
    return singular_pairs(*matrix.with_values(values), most, generator)


def _balanced(pairs: SingularPairs, number: int) -> SingularPairs:
    """The first ``number`` pairs, those of about one strength turned such that their signs say most.

    Such pairs are determined up to a turn only, and some turns put whole groups of entities on a boundary. This
    one brings coordinates near to the corners of a cube (iterative quantisation; Gong and Lazebnik, 2011).
    """
    left, right = pairs.left[:, :number].clone(), pairs.right[:, :number].clone()
    strengths, first = pairs.values.tolist(), 0
    while first < number:
        alike = [n for n in range(first, number) if strengths[n] >= ALIKE * strengths[first]]
        block = torch.cat([left[:, alike], right[:, alike]])
        turn = torch.eye(len(alike), dtype=block.dtype, device=block.device)
        for _ in range(TURNS):
            one, _, other = torch.linalg.svd(block.T @ (block @ turn).sign())
            turn = one @ other
        left[:, alike], right[:, alike] = left[:, alike] @ turn, right[:, alike] @ turn
        first += len(alike)
    return SingularPairs(left, pairs.values[:number], right)


def _turned(pairs: SingularPairs, whole: SingularPairs, number: int) -> tuple[Tensor, Tensor]:
    """The first ``number`` coordinates, turned towards those of ``whole``; one turn for both fields."""
    left, right = pairs.left[:, :number], pairs.right[:, :number]
    likeness = left.T @ whole.left + right.T @ whole.right
    one, _, other = torch.linalg.svd(likeness)
    turn = one @ other
    return left @ turn, right @ turn


def _known(ids: Tensor, size: int, folds: Tensor, num_folds: int) -> Tensor:
    """Whether entities have interactions outside of each fold, and last whether any; bool ``(N, F + 1)``."""
    in_fold = torch.zeros(size, num_folds, dtype=torch.bool, device=ids.device)
    for some, judged in zip(ids.split(CHUNK), folds.split(CHUNK)):
        in_fold[some.long(), judged.long()] = True
    several = in_fold.sum(dim=1, keepdim=True)
    return torch.cat([several > in_fold, several > 0], dim=1)


def _signs(coordinates: Sequence[Tensor], known: Tensor) -> Tensor:
    """Whether coordinates ``(N, k)`` of each view are positive, bool of shape ``(N, F + 1, k)``.

    What is not ``known`` ``(N, F + 1)`` is taken for what most entities are in the view with all.
    """
    positive = torch.stack([of_view > 0 for of_view in coordinates], dim=1)
    of_known = positive[known[:, -1], -1]
    mostly = 2 * of_known.sum(dim=0) > len(of_known)
    return torch.where(known.unsqueeze(2), positive, mostly)


def _effect(signs: Sequence[Tensor], left: Tensor, right: Tensor, folds: Tensor, outside: Residuals) -> Tensor:
    """Newton steps of the outputs along each pair of directions, by left-out interactions, shape ``(k, k)``."""
    total = outside.curvature.sum().clamp(min=torch.finfo(outside.curvature.dtype).tiny)
    number = signs[0].shape[2]
    steps = total.new_zeros(number, number)
    for some in torch.arange(len(left), device=left.device).split(at_once(CHUNK, left.device)):
        one, other = (
            side[ids[some], folds[some]].to(total.dtype) * 2 - 1 for side, ids in zip(signs, (left, right))
        )
        steps += (one * outside.residual[some].unsqueeze(1)).T @ other
    return steps / total
