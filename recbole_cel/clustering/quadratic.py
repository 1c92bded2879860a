"""The loss of an entity's interactions as a quadratic function of the entity's row.

One forward and one backward pass give it, and it tells the loss of any number of rows without another pass, level
after level. It is exact for a squared error where the output is linear in the row.
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

    def gradient(self, rows: Tensor) -> Tensor:
        """Gradient at each group's row ``(G, D)``, in the same shape."""
        return self.linear + torch.einsum("gde,ge->gd", self.curvature, rows)

    def at(self, base: Tensor, rows: Tensor) -> Tensor:
        """Values ``(G, K)`` where each of ``rows`` ``(K, D)`` is added to the group's ``base`` ``(G, D)``."""
        squares = (rows.unsqueeze(2) * rows.unsqueeze(1)).flatten(1)
        return torch.addmm(self.gradient(base) @ rows.T, self.curvature.flatten(1), squares.T, alpha=0.5)


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
    bend = bends(objective, seen, (jacobian * (reach.centre - rows)[chunk.cell]).sum(dim=1), reach).unsqueeze(1)
    blocks = Blocks(chunk.cell, len(rows))
    return blocks.sum_products(blocks.pad(bend * jacobian), blocks.pad(jacobian))


def bends(objective: Objective, seen: Probe, to_centre: Tensor, reach: Reach) -> Tensor:
    """Second derivatives of each interaction's loss by its output, means as far as the rows reach, ``(B,)``."""
    centre = seen.outputs + to_centre
    distance = ((seen.jacobian @ reach.spread) * seen.jacobian).sum(dim=1).clamp(min=MIN_REACH**2).sqrt()
    above, below = (loss_slope(objective, centre + step, seen.targets) for step in (distance, -distance))
    # A loss that is not convex has no least value to go to where it is bent down.
    return ((above - below) / (2 * distance)).clamp(min=0)
