"""Grow a level at once: split after split, on what one pass over the interactions tells.

Members of a cluster are cut across the first principal component of where they pull (GPCA, ``gpca.py``), the two
sides get rows of their own, and all views go to the row that is nearest to their targets. A pull is here not the
gradient itself, but the step that the gradient, its curvature and the prior suggest (``evidence/prior.py``); that
is what allows to split a child again without training its row first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...evidence.bounds import at_once
from ..gpca import fit_cuts
from ..settings import ClusterSettings
from .gains import SplitGains
from .points import MAX_DISTANCES, Cells, Points

# Rounds of going to the nearest row and moving the rows, when a level is grown.
ROUNDS = 3


class Growth(NamedTuple):
    """What became of a level.

    Attributes:
        points: shape ``(K', D)``, of its clusters, the old ones first.
        parents: shape ``(K' - K,)``, position of the cluster that each of the new ones was split from.
        choice: shape ``(P,)``, cluster of each of the views' points.
    """

    points: Tensor
    parents: Tensor
    choice: Tensor


def grow(
    views: Points,
    cells: Cells,
    rest: Tensor,
    points: Tensor,
    choice: Tensor,
    max_clusters: int,
    settings: ClusterSettings,
) -> Growth:
    """Split clusters of a level until there are ``max_clusters``, or no split pays.

    Args:
        views: of some entities.
        cells: of the same entities.
        rest: shape ``(P, D)``, how far views are from their targets.
        points: shape ``(K, D)``, of the level's clusters.
        choice: shape ``(P,)``, cluster of each of their points.
        max_clusters: the largest number of clusters.
        settings: which clusters are split first, where they are cut, and what a split has to gain.
    """
    # What this level shall add to the others.
    targets = rest + points[choice]
    members = Members(views.evidence[cells.whole], targets[cells.whole], cells.whole)
    first, gains = len(points), SplitGains(views, cells, targets)
    parents = choice.new_zeros(0)
    most = min(max_clusters, first + (settings.split_count or max_clusters))
    while len(points) < most:
        beyond = sides(members, targets - points[choice], choice, len(points), settings.split_threshold)
        gain = gains.of(choice, beyond, len(points))
        whole = choice[cells.whole], beyond[cells.whole]
        count = choice.new_zeros(len(points), 2).index_put_(
            (whole[0], whole[1].long()), torch.ones_like(whole[0]), True
        )
        pays = (gain > settings.split_gain) | (settings.split_gain == 0)
        splits = (pays & (count > 0).all(dim=1)).nonzero().squeeze(1)
        score = scores(cells, members, choice, len(points), settings.split_criterion)[splits]
        splits = splits[score.argsort(descending=True, stable=True)[: most - len(points)]]
        if not len(splits):
            break
        child = choice.new_full((len(points),), -1)
        child[splits] = torch.arange(len(points), len(points) + len(splits), device=child.device)
        choice = torch.where(beyond & (child[choice] >= 0), child[choice], choice)
        parents = torch.cat([parents, splits])
        points = torch.cat([points, points[splits]])
        points = centroids(members, points, choice)
        for _ in range(1 if len(points) < most else ROUNDS):
            choice = closest(targets, points)
            points = centroids(members, points, choice)
    # A child of a child was split from a cluster that is new itself.
    origin = parents.tolist()
    for new, parent in enumerate(origin):
        while parent >= first:
            parent = origin[parent - first]
        origin[new] = parent
    return Growth(points, parents.new_tensor(origin), choice)


class Members(NamedTuple):
    """The views with all, which are the members of the clusters.

    Attributes:
        evidence: shape ``(E,)``, their interactions.
        target: shape ``(E, D)``, what the level should add to them.
        place: shape ``(E,)``, their points.
    """

    evidence: Tensor
    target: Tensor
    place: Tensor


def sides(members: Members, steps: Tensor, choice: Tensor, clusters: int, threshold: str) -> Tensor:
    """Which points ``(P,)``, bool, lie beyond the cut of their cluster; the views with all tell where it is."""
    present, group = choice[members.place].unique(return_inverse=True)
    cuts = fit_cuts(steps[members.place].double(), members.evidence, group, len(present), threshold)
    position = choice.new_full((clusters,), -1)
    position[present] = torch.arange(len(present), device=choice.device)
    group = position[choice]
    return cuts.beyond(steps.double(), group.clamp(min=0)) & (group >= 0)


def scores(cells: Cells, members: Members, choice: Tensor, clusters: int, criterion: str) -> Tensor:
    """By which clusters are split first, the largest ones: shape ``(K,)``, float64."""
    group = choice[members.place]

    def total(values: Tensor) -> Tensor:
        return torch.zeros(clusters, dtype=torch.float64, device=group.device).index_add_(
            0, group, values.double()
        )

    interactions = total(members.evidence)
    if criterion == "interactions":
        return interactions
    if criterion == "members":
        return total(torch.ones_like(group))
    if criterion == "gradient_norm":
        return total(cells.gradient_norm)
    loss = total(cells.loss)
    return loss / interactions.clamp(min=1) if criterion == "mean_loss" else loss


def centroids(members: Members, points: Tensor, choice: Tensor) -> Tensor:
    """Means of the targets of the members of each cluster, by interactions; ``points`` where there are none."""
    group, weight = choice[members.place], members.evidence.to(points.dtype).unsqueeze(1)
    total = torch.zeros_like(points).index_add_(0, group, weight * members.target)
    number = torch.zeros_like(points[:, :1]).index_add_(0, group, weight)
    return torch.where(number > 0, total / number.clamp(min=1e-6), points)


def closest(targets: Tensor, points: Tensor) -> Tensor:
    """Which of ``points`` ``(K, D)`` is nearest to each of ``targets`` ``(V, D)``, shape ``(V,)``."""
    own = points.square().sum(dim=1) / 2
    blocks = targets.split(max(1, at_once(MAX_DISTANCES, targets.device) // len(points)))
    return torch.cat([torch.addmm(own, block, points.T, alpha=-1).argmin(dim=1) for block in blocks])
