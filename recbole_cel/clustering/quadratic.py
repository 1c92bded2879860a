"""The loss of an entity's interactions as a quadratic function of the entity's row.

One forward and one backward pass give it. It is exact for a squared error where the output is linear in the row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .grouping import Blocks, Chunk
from .objective import Objective, loss_slope
from .probe import Probe

# The least distance over which a slope is compared with itself: a smaller one would tell rounding.
MIN_REACH = 0.01


class Quadratic(NamedTuple):
    """Summed loss of each of G groups of interactions, as a function of a row x of width D, up to a constant.

    Attributes:
        linear: shape ``(G, D)``; what ``x`` is multiplied with.
        curvature: shape ``(G, D, D)``; half of ``x`` times this times ``x`` is added.
    """

    linear: Tensor
    curvature: Tensor

    @classmethod
    def about(cls, rows: Tensor, gradient: Tensor, curvature: Tensor) -> Quadratic:
        """With this gradient ``(G, D)`` at the groups' ``rows`` ``(G, D)``."""
        return cls(gradient - torch.einsum("gde,ge->gd", curvature, rows), curvature)


class Reach(NamedTuple):
    """Where the rows that entities may have lie.

    Attributes:
        centre: shape ``(D,)``, their mean.
        spread: shape ``(D, D)``, their covariance.
    """

    centre: Tensor
    spread: Tensor


def curvatures(objective: Objective, chunk: Chunk, seen: Probe, rows: Tensor, reach: Reach) -> Tensor:
    """Second derivatives of the losses of the chunk's cells by the row, shape ``(C, D, D)``.

    They are means as far as the rows reach. At a single point they would mislead: a logistic loss is nearly flat
    where the output is right, and rises elsewhere; and what a row was chosen by would leak into them.

    Args:
        objective: the training loss.
        chunk: entities with their interactions.
        seen: a probe of the chunk.
        rows: shape ``(C, D)``, the row that each cell's interactions have.
        reach: of the rows that entities may have.
    """
    jacobian = seen.jacobian
    centre = seen.outputs + (jacobian * (reach.centre - rows)[chunk.cell]).sum(dim=1)
    distance = ((jacobian @ reach.spread) * jacobian).sum(dim=1).clamp(min=MIN_REACH**2).sqrt()
    above, below = (loss_slope(objective, centre + step, seen.targets) for step in (distance, -distance))
    # A loss that is not convex has no least value to go to where it is bent down.
    bend = ((above - below) / (2 * distance)).clamp(min=0).unsqueeze(1)
    blocks = Blocks(chunk.cell, len(rows))
    return blocks.sum_products(blocks.pad(bend * jacobian), blocks.pad(jacobian))
