"""Merge clusters that do not pay any more: growth's test, asked of clusters that are there.

A split that paid while the rest of the model was untrained may have become pointless. What a cluster gains over
its nearest neighbour is judged as a split of their union would be, by interactions that had no say in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...evidence.bounds import at_once
from .gains import SplitGains
from .points import Cells, Points

# Distances that are held at once.
MAX_DISTANCES = 1 << 22


def merge(
    views: Points, cells: Cells, rest: Tensor, points: Tensor, choice: Tensor, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge pairs of clusters of a level, nearest neighbours of each other, that lose by being two.

    It takes a loss, and not just no gain: nothing can be said of clusters that the model makes no use of yet.

    Args:
        views: of some entities.
        cells: of the same entities.
        rest: shape ``(P, D)``, how far views are from their targets.
        points: shape ``(K, D)``, of the level's clusters.
        choice: shape ``(P,)``, cluster of each of their points.
        least: by how much the summed loss has to be less with one cluster than with two.

    Returns:
        The points of the clusters, the mean of what is wanted of it where others came to one; the choice of each
        view; and which clusters were given up, bool, shape ``(K,)``.
    """
    targets = rest + points[choice]
    gains = SplitGains(views, cells, targets)
    points, gone = points.clone(), torch.zeros(len(points), dtype=torch.bool, device=points.device)
    weight = views.evidence[cells.whole].to(points.dtype).unsqueeze(1)
    while True:
        alive = torch.zeros_like(gone).index_fill_(0, choice[cells.whole], True) & ~gone
        first, second = _neighbours(points, alive)
        into = torch.arange(len(points), device=points.device)
        into[second] = first
        together = into[choice]
        poor = gains.of(together, together != choice, len(points))[first] < -least
        if not bool(poor.any()):
            return points, choice, gone
        into[second[~poor]] = second[~poor]
        choice, gone[second[poor]] = into[choice], True
        group = choice[cells.whole]
        total = torch.zeros_like(points).index_add_(0, group, weight * targets[cells.whole])
        number = torch.zeros_like(points[:, :1]).index_add_(0, group, weight)
        points[first[poor]] = (total / number.clamp(min=1e-6))[first[poor]]


def _neighbours(points: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of ``alive`` clusters that are nearest to each other, as two tensors; the first ones come first."""
    some = alive.nonzero().squeeze(1)
    if len(some) < 2:
        return some[:0], some[:0]
    here, nearest = points[some], []
    number = max(1, at_once(MAX_DISTANCES, some.device) // len(some))
    for own in torch.arange(len(some), device=some.device).split(number):
        distances = torch.cdist(here[own], here)
        distances[own - own[0], own] = torch.inf
        nearest.append(distances.argmin(dim=1))
    near = torch.cat(nearest)
    at = torch.arange(len(near), device=near.device)
    first = ((near[near] == at) & (at < near)).nonzero().squeeze(1)
    return some[first], some[near[first]]
