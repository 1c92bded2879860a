"""The loss of an entity's interactions as a quadratic function of the entity's row.

One forward and one backward pass give it. It is exact for a squared error where the output is linear in the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .codebook import Codebook, sum_of
from .grouping import Blocks, Chunk
from .objective import Objective, loss_slope
from .probe import Probe

# The least distance over which a slope is compared with itself: a smaller one would tell rounding.
MIN_SPREAD = 0.01


class Quadratic(NamedTuple):
    """Summed loss of each of G groups of interactions, as a function of a row x of width D, up to a constant.

    Attributes:
        linear: shape ``(G, D)``; what ``x`` is multiplied with.
        curvature: shape ``(G, D, D)``; half of ``x`` times this times ``x`` is added.
    """

    linear: Tensor
    curvature: Tensor

    @classmethod
    def of_entities(cls, objective: Objective, levels: Sequence[Codebook], chunk: Chunk, seen: Probe) -> Quadratic:
        """Losses of all interactions of each entity of a chunk, about the row that it has with all.

        Args:
            objective: the training loss.
            levels: all levels of the field's embedding.
            chunk: entities with their interactions.
            seen: a probe of the chunk.
        """
        jacobian = seen.jacobian
        rows = sum_of([level.rows for level in levels], [level.choices(chunk.entities) for level in levels])
        spread = RowSpread.of([level.rows for level in levels])
        trained, whole = rows[chunk.owner, chunk.fold], rows[:, -1]
        slopes = loss_slope(
            objective, seen.outputs + (jacobian * (whole[chunk.owner] - trained)).sum(dim=1), seen.targets
        )
        centre = seen.outputs + (jacobian * (spread.centre - trained)).sum(dim=1)
        secants = (
            seen.weights * secant_curvatures(objective, centre, spread.distance(jacobian), seen.targets)
        ).unsqueeze(1)
        blocks = Blocks(chunk.owner, len(whole))
        curvature = blocks.sum_products(blocks.pad(secants * jacobian), blocks.pad(jacobian))
        gradient = chunk.sum_by_entity((seen.weights * slopes).unsqueeze(1) * jacobian)
        return cls(gradient - torch.einsum("gde,ge->gd", curvature, whole), curvature)


class RowSpread(NamedTuple):
    """Where the rows that entities would have with any cluster in each level lie.

    Attributes:
        centre: shape ``(D,)``, their mean.
        spread: shape ``(D, D)``, their covariance.
    """

    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, levels: Sequence[Tensor]) -> RowSpread:
        """Of levels with these rows ``(K, D)``."""
        means = [rows.mean(dim=0) for rows in levels]
        centred = [rows - mean for rows, mean in zip(levels, means)]
        spread = torch.stack([rows.T @ rows / len(rows) for rows in centred]).sum(dim=0)
        return cls(torch.stack(means).sum(dim=0), spread)

    def distance(self, jacobian: Tensor) -> Tensor:
        """How far outputs ``(...)`` with derivatives ``(..., D)`` by the row are from the centre."""
        variance = ((jacobian @ self.spread) * jacobian).sum(dim=-1)
        return variance.clamp(min=MIN_SPREAD**2).sqrt()


def secant_curvatures(objective: Objective, centre: Tensor, distance: Tensor, targets: Tensor) -> Tensor:
    """Second derivatives of losses by the outputs, as means over a ``distance`` about outputs in the ``centre``.

    All are of one shape. At a single point they would mislead: a logistic loss is nearly flat where the output is
    right, and rises elsewhere; and what a row was chosen by would leak into them.
    """
    ends = torch.stack([centre + distance, centre - distance])
    above, below = loss_slope(objective, ends, targets.expand_as(ends))
    # A loss that is not convex has no least value to go to where it is bent down.
    return ((above - below) / (2 * distance)).clamp(min=0)
