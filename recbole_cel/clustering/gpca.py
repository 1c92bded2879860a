"""Gradient principal component analysis (GPCA): where to cut clusters, for many clusters at once.

The members of a cluster share a row, but each pulls it its own way. GPCA cuts the cluster across the first
principal component of these pulls (Chen et al., WWW 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..evidence.grouping import Blocks
from ..evidence.numerics import check_finite, ordered_cumsum, symmetric_eigen
from ..evidence.whitening import orient

# Below this share of the mean squared gradient, the largest variance is rounding, and there is nothing to cut.
RELATIVE_VARIANCE = 1e-10


class Cuts(NamedTuple):
    """One cutting plane for each of G groups of members.

    Attributes:
        mean: shape ``(G, D)``, mean gradient of the members.
        direction: shape ``(G, D)``, unit vectors, first principal components.
        threshold: shape ``(G,)``; members whose projection lies above it are beyond the cut.
        exists: shape ``(G,)``, bool; False where the gradients do not differ.
    """

    mean: Tensor
    direction: Tensor
    threshold: Tensor
    exists: Tensor

    def project(self, gradients: Tensor, groups: Tensor) -> Tensor:
        """Centred projections, shape ``(M,)``, of ``gradients`` ``(M, D)`` of members of ``groups`` ``(M,)``."""
        centre = (self.mean * self.direction).sum(dim=1)
        return (gradients * self.direction[groups]).sum(dim=1) - centre[groups]

    def beyond(self, gradients: Tensor, groups: Tensor) -> Tensor:
        """Which members lie beyond their group's cut, bool, shape ``(M,)``."""
        return (self.project(gradients, groups) > self.threshold[groups]) & self.exists[groups]


def fit_cuts(gradients: Tensor, interactions: Tensor, groups: Tensor, num_groups: int, threshold: str) -> Cuts:
    """Find the cut of every group.

    Args:
        gradients: shape ``(M, D)``, float64, each member's gradient with respect to its own row.
        interactions: shape ``(M,)``, number of interactions of each member.
        groups: shape ``(M,)``, group of each member, in ``0 .. num_groups - 1``; every group has a member.
        num_groups: number of groups G.
        threshold: ``zero``, ``median`` (the lower median member) or ``data_median`` (the member at which
            half of the group's interactions is reached).

    Raises:
        NumericalError: if a gradient is not finite, as when training diverges.
    """
    check_finite(gradients, "gradients")
    sizes = torch.bincount(groups, minlength=num_groups).to(gradients.dtype).unsqueeze(1)
    mean = gradients.new_zeros(num_groups, gradients.shape[1]).index_add_(0, groups, gradients) / sizes
    centred = gradients - mean[groups]
    order = groups.argsort(stable=True)
    blocks = Blocks(groups[order], num_groups)
    rows = blocks.pad(centred[order])
    variances, vectors = symmetric_eigen(blocks.sum_products(rows, rows) / sizes.unsqueeze(2))
    direction = orient(vectors[:, :, -1])
    scale = gradients.new_zeros(num_groups).index_add_(0, groups, gradients.square().sum(1)) / sizes.squeeze(1)
    exists = variances[:, -1] > RELATIVE_VARIANCE * scale
    cuts = Cuts(mean, direction, gradients.new_zeros(num_groups), exists)
    if threshold == "zero":
        return cuts
    weights = torch.ones_like(interactions) if threshold == "median" else interactions
    return cuts._replace(threshold=_medians(cuts.project(gradients, groups), weights, groups, num_groups))


def _medians(projections: Tensor, weights: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """The smallest projection in each group at which half of the group's weight is reached."""
    order = projections.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    total = weights.new_zeros(num_groups).index_add_(0, groups, weights)
    reached = ordered_cumsum(weights[order]) - (ordered_cumsum(total) - total)[groups[order]]
    half = 2 * reached >= total[groups[order]]
    position = torch.where(half, torch.arange(len(order), device=order.device), len(order))
    first = position.new_full((num_groups,), len(order)).scatter_reduce_(0, groups[order], position, reduce="amin")
    return projections[order][first]
