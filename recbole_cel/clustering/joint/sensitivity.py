"""How a model's output depends on the rows of two fields together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ...embedding.clustered import ClusteredEmbedding
from ...evidence.objective import Objective
from ...evidence.probe import probe_several

# How far rows are moved to see the derivative by the others change: networks of rectifiers bend only in places.
STEP = 0.3
# The least strength: below, the output does not depend on the pair of steps.
TOLERANCE = 1e-3


class Sensitivity(NamedTuple):
    """Pairs of steps of the rows of two fields to which the output responds, the best first.

    Attributes:
        left: shape ``(D, m)``, unit vectors.
        right: shape ``(D', m)``, unit vectors.
        strength: shape ``(m,)``, by how much an output rises if both rows move by one, positive.
    """

    left: Tensor
    right: Tensor
    strength: Tensor


def sensitivity(
    objective: Objective,
    left: Sequence[Sequence[ClusteredEmbedding]],
    right: Sequence[Sequence[ClusteredEmbedding]],
    sample: Tensor,
    generator: torch.Generator,
) -> Sensitivity:
    """Mean mixed second derivative of the outputs by the rows of two fields, by its singular pairs.

    It is found by central differences: two probes for each number of the left rows. In a product of rows it is the
    identity; the singular pairs are then chosen such that the rows which there are do not lie along them, for a
    step along a row would change main effects, too.

    Args:
        objective: the training loss.
        left: for each level of the left field, the tables that share the level's assignment.
        right: the same of the right field.
        sample: shape ``(B,)``, interactions that are looked at.
        generator: turns the axes, so that steps spread over all numbers of a row.
    """
    first, other = left[0], right[0]
    widths = [table.embedding_dim for table in first]
    rows = []
    for place in range(sum(widths)):
        ends = []
        for sign in (STEP, -STEP):
            with _moved(first, place, sign):
                ends.append(probe_several(objective, [other], sample)[0].jacobian.double().mean(dim=0))
        rows.append((ends[0] - ends[1]) / (2 * STEP))
    mixed = torch.stack(rows)
    weights = [_away_from(_spread(levels), generator) for levels in (left, right)]
    one, strength, two = torch.linalg.svd(weights[0].T @ mixed @ weights[1], full_matrices=False)
    # Numbers of a row that no pair depends on, such as biases, stay as they are.
    spaces = _range(mixed), _range(mixed.T)
    steps = [
        torch.nn.functional.normalize(space @ (space.T @ (weight @ turn)), dim=0)
        for space, weight, turn in zip(spaces, weights, (one, two.T))
    ]
    strength = (steps[0] * (mixed @ steps[1])).sum(dim=0)
    some = strength > TOLERANCE
    dtype = first[0].weight.dtype
    return Sensitivity(*(part.to(dtype) for part in (steps[0][:, some], steps[1][:, some], strength[some])))


@contextmanager
def _moved(tables: Sequence[ClusteredEmbedding], place: int, step: float) -> Iterator[None]:
    """Within the block, number ``place`` of all rows, tables side by side, is larger by ``step``."""
    for table in tables:
        if place < table.embedding_dim:
            break
        place -= table.embedding_dim
    saved = table.weight.detach().clone()
    try:
        with torch.no_grad():
            table.weight[:, place] += step
        yield
    finally:
        with torch.no_grad():
            table.weight.copy_(saved)


def _range(mixed: Tensor) -> Tensor:
    """An orthonormal basis of what ``mixed`` ``(D, D')`` maps to, as columns."""
    basis, strength, _ = torch.linalg.svd(mixed, full_matrices=False)
    return basis[:, strength > TOLERANCE]


def _spread(levels: Sequence[Sequence[ClusteredEmbedding]]) -> Tensor:
    """Mean outer product of the rows of entities with themselves, as if levels were independent: ``(D, D)``."""
    means, spreads = list[Tensor](), list[Tensor]()
    for tables in levels:
        rows = torch.cat([table.weight.detach().double() for table in tables], dim=1)
        share = tables[0].assignment.members.double().unsqueeze(1) / tables[0].assignment.num_entities
        means.append((share * rows).sum(dim=0))
        spreads.append((share * rows).T @ rows - means[-1].outer(means[-1]))
    mean = torch.stack(means).sum(dim=0)
    return torch.stack(spreads).sum(dim=0) + mean.outer(mean)


def _away_from(spread: Tensor, generator: torch.Generator) -> Tensor:
    """A root of the metric in which steps along rows are longer, turned at random: ``(D, D)``."""
    size = len(spread)
    turn = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q.to(spread.device)
    squares, directions = torch.linalg.eigh(spread)
    shrunk = directions * (1.0 + squares.clamp(min=0) / STEP**2).rsqrt()
    return shrunk @ directions.T @ turn
