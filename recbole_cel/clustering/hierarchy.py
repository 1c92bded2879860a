"""Clusters of clusters: shared rows are themselves grouped, and pulled to the centroid of their group.

A row that few interactions train then stays near the rows like it. The groups (super-clusters) are found anew from
the rows whenever they are asked for, so there is nothing to save, and a resumed run sees what the first one saw.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding

MAX_ROUNDS = 10


def super_clusters(rows: Tensor, number: int) -> Tensor:
    """Group ``rows`` of shape ``(K, d)`` into at most ``number`` super-clusters.

    k-means without chance: the first centre is the row farthest from the mean, each further one the row farthest
    from the centres so far; then at most ten rounds of Lloyd's algorithm, ties to the lowest id.

    Returns:
        The super-cluster of each row, shape ``(K,)``, ids from 0 without gaps.
    """
    groups = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    if number == 1:
        return groups
    farthest = (rows - rows.mean(dim=0)).square().sum(dim=1).argmax()
    nearest = torch.full_like(rows[:, 0], torch.inf)
    for group in range(min(number, len(rows))):
        distances = (rows - rows[farthest]).square().sum(dim=1)
        groups.masked_fill_(distances < nearest, group)
        nearest = torch.minimum(nearest, distances)
        farthest = nearest.argmax()
    for _ in range(MAX_ROUNDS):
        groups = groups.unique(return_inverse=True)[1]
        moved = _distances(rows, _means(rows, groups, int(groups.max()) + 1)).argmin(dim=1)
        if torch.equal(moved, groups):
            break
        groups = moved
    return groups.unique(return_inverse=True)[1]


def hierarchy_penalty(table: ClusteredEmbedding, number: int) -> Tensor:
    """Sum over the table's clusters of the squared distance of their row to their super-centroid, shape ``()``.

    The super-centroid is the mean of the rows of the clusters in the super-cluster. Clusters without members do
    not count. With gradient averaging, this gradient too is divided by the members of each cluster.
    """
    alive = table.assignment.occupied.nonzero().squeeze(1)
    rows = table.rows_of(alive)
    fixed = rows.detach()
    groups = super_clusters(fixed, number)
    # A mean moves with its rows, but the sum of squares does not change with it to first order.
    centroids = _means(fixed, groups, int(groups.max()) + 1)
    return (rows - centroids[groups]).square().sum()


def _distances(rows: Tensor, centres: Tensor) -> Tensor:
    """Squared distances, shape ``(K, S)``, formed centre by centre: no cancellation, no ``(K, S, d)`` tensor."""
    return torch.stack([(rows - centre).square().sum(dim=1) for centre in centres], dim=1)


def _means(rows: Tensor, groups: Tensor, number: int) -> Tensor:
    """Mean row of each group, shape ``(number, d)``; every group has a row."""
    sizes = torch.bincount(groups, minlength=number).unsqueeze(1)
    return rows.new_zeros(number, rows.shape[1]).index_add_(0, groups, rows) / sizes
