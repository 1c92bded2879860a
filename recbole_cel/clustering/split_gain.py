"""Whether a split pays: by how much the loss would fall, judged by interactions that did not choose the sides.

With cross-fitting, the side of an entity is told by the folds other than one, and the gradient of that one fold
tells whether the two sides want to go different ways. If entities were cut by chance, they do not: the gain is
then about half a nat for each dimension of the row, for the direction of the cut is found with all folds.

To second order, two sides with the gradients g and h of the summed loss and the curvatures A and B along the
direction of the cut gain ``(g B - h A) ** 2 / (2 A B (A + B))`` by rows of their own over one that they share. The
curvatures are taken to be as large as the sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..embedding.assignment import ClusterAssignment
from .grouping import Chunk
from .objective import Objective, loss_curvature
from .probe import Probe

# Bound of memory: interactions whose curvatures are held at once.
MAX_INTERACTIONS = 1 << 12


class SplitGain:
    """Collects what the gains of all clusters of a level are found from.

    Args:
        assignment: of the level.
        dim: summed width D of the tables.
    """

    def __init__(self, assignment: ClusterAssignment, dim: int) -> None:
        zeros = torch.zeros(assignment.max_clusters, 2, dtype=torch.float64, device=assignment.clusters.device)
        self._assignment = assignment
        self._pull = zeros
        self._interactions = zeros.clone()
        self._seen = zeros.new_zeros(assignment.max_clusters)
        self._curvature = zeros.new_zeros(assignment.max_clusters, dim * dim)
        self._direction = zeros.new_zeros(assignment.max_clusters, dim)

    def see(self, objective: Objective, chunk: Chunk, seen: Probe) -> None:
        """Take the curvatures of some interactions."""
        # One fold is enough for a mean; without folds there is but one.
        first_fold = (chunk.cell_fold[chunk.cell] == 0).nonzero().squeeze(1)
        for some in first_fold.split(MAX_INTERACTIONS):
            self._see(objective, chunk, seen, some)

    def _see(self, objective: Objective, chunk: Chunk, seen: Probe, some: Tensor) -> None:
        clusters, jacobian = self._assignment(chunk.entities)[chunk.owner][some], seen.jacobian[some]
        curvature = loss_curvature(objective, seen.outputs[some], seen.targets[some])
        products = (curvature.unsqueeze(1) * jacobian).unsqueeze(2) * jacobian.unsqueeze(1)
        self._curvature.index_add_(0, clusters, products.flatten(1).double())
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
            direction: shape ``(C, D)``, of the cut of the owner's cluster.
        """
        clusters = self._assignment(owner)
        self._direction[clusters] = direction
        along = (pull * direction).sum(dim=1)
        # What is assigned elsewhere without a fold does not look this cluster up.
        here = self._assignment.views(owner).gather(1, fold.unsqueeze(1)).squeeze(1) == clusters
        cell = (2 * clusters + ~beyond)[here]
        self._pull.view(-1).index_add_(0, cell, along[here])
        self._interactions.view(-1).index_add_(0, cell, interactions[here].double())

    def gains(self) -> Tensor:
        """Expected fall of the summed loss by a split of each cluster, shape ``(K,)``, float64."""
        size = self._direction.shape[1]
        matrices = self._curvature.view(-1, size, size)
        curvature = torch.einsum("kd,kde,ke->k", self._direction, matrices, self._direction)
        total = self._interactions.sum(dim=1)
        curvature = curvature * total / self._seen.clamp(min=1)
        far, near = self._pull.unbind(dim=1)
        share = self._interactions[:, 0] / total.clamp(min=1)
        contrast = (1 - share) * far - share * near
        scale = 2 * share * (1 - share) * curvature
        return torch.where(scale > 0, contrast.square() / scale.clamp(min=1e-300), 0.0)
