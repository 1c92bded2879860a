"""Whether a split pays: by how much the loss would fall, judged by interactions that did not choose the sides.

With cross-fitting, a cut and the side of an entity are told by the folds other than one, and the gradient of
that one fold tells whether the two sides want to go the ways that they were cut by. If entities were cut by
chance, they do not: the gain is then about half a nat, and above two once in twelve times, however wide the
row is.

To second order, two sides with the gradients g and h of the summed loss and the curvatures A and B along the
direction of the cut gain ``(g B - h A) ** 2 / (2 A B (A + B))`` by rows of their own over one that they share. The
curvatures are taken to be as large as the sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..embedding.assignment import ClusterAssignment
from .grouping import Blocks, Chunk
from .objective import Objective, loss_curvature
from .probe import Probe


class SplitGain:
    """Collects what the gains of all clusters of a level are found from.

    Args:
        assignment: of the level.
        dim: summed width D of the tables.
    """

    def __init__(self, assignment: ClusterAssignment, dim: int) -> None:
        clusters, folds, device = assignment.max_clusters, assignment.num_folds, assignment.clusters.device
        self._assignment = assignment
        self._pull = torch.zeros(clusters, folds, 2, dtype=torch.float64, device=device)
        self._interactions = torch.zeros_like(self._pull)
        self._seen = self._pull.new_zeros(clusters)
        self._curvature = self._pull.new_zeros(clusters, dim * dim)
        self._direction = self._pull.new_zeros(clusters, folds, dim)

    def see(self, objective: Objective, chunk: Chunk, seen: Probe) -> None:
        """Take the curvatures of some interactions."""
        # One fold is enough for a mean; without folds there is but one.
        some = (chunk.cell_fold[chunk.cell] == 0).nonzero().squeeze(1)
        clusters, order = self._assignment(chunk.entities)[chunk.owner[some]].sort(stable=True)
        some = some[order]
        jacobian = seen.jacobian[some]
        curvature = loss_curvature(objective, seen.outputs[some], seen.targets[some]).unsqueeze(1)
        present, group = clusters.unique_consecutive(return_inverse=True)
        blocks = Blocks(group, len(present))
        products = blocks.sum_products(blocks.pad(curvature * jacobian), blocks.pad(jacobian))
        self._curvature.index_add_(0, present, products.flatten(1).double())
        self._seen += torch.bincount(clusters, minlength=len(self._seen))

    def cut(
        self, owner: Tensor, fold: Tensor, interactions: Tensor, pull: Tensor, beyond: Tensor, direction: Tensor
    ) -> None:
        """Take some cells, each with the side that its owner is on without it.

        Args:
            owner: shape ``(C,)``, entity of each cell.
            fold: shape ``(C,)``, fold of each cell.
            interactions: shape ``(C,)``, their numbers.
            pull: shape ``(C, D)``, gradient of the cell's loss by its row.
            beyond: shape ``(C,)``, bool.
            direction: shape ``(C, D)``, of the cut of the owner's cluster without the fold.
        """
        clusters = self._assignment(owner)
        self._direction[clusters, fold] = direction
        along = (pull * direction).sum(dim=1)
        # What is assigned elsewhere without a fold does not look this cluster up.
        here = self._assignment.views(owner).gather(1, fold.unsqueeze(1)).squeeze(1) == clusters
        cell = (2 * (clusters * self._pull.shape[1] + fold) + ~beyond)[here]
        self._pull.view(-1).index_add_(0, cell, along[here])
        self._interactions.view(-1).index_add_(0, cell, interactions[here].double())

    def gains(self) -> Tensor:
        """Expected fall of the summed loss by a split of each cluster, shape ``(K,)``, float64."""
        size = self._direction.shape[2]
        mean = self._curvature.view(-1, size, size) / self._seen.clamp(min=1).view(-1, 1, 1)
        curvature = torch.einsum("kfd,kde,kfe->kf", self._direction, mean, self._direction)
        total = self._interactions.sum(dim=2)
        far, near = self._pull.unbind(dim=2)
        share = self._interactions[:, :, 0] / total.clamp(min=1)
        contrast = ((1 - share) * far - share * near).sum(dim=1)
        scale = (2 * share * (1 - share) * curvature * total).sum(dim=1)
        return torch.where((scale > 0) & (contrast > 0), contrast.square() / scale.clamp(min=1e-300), 0.0)
