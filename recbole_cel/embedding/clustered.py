"""An embedding whose rows are shared by the members of a cluster."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .assignment import ClusterAssignment
from .full import all_ids
from .slots import is_recorded, record


class ClusteredEmbedding(nn.Module):
    """Drop-in for ``nn.Embedding`` with K shared rows in place of N.

    The embedding of entity ``e`` is ``weight[assignment(e)]``, plus ``personal[e]`` with personalisation.

    Args:
        assignment: which cluster each entity belongs to; tables of one field share one object.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows. Clusters that do not exist yet stay at zero: a split
            copies the parent's row into them.
        gradient_averaging: divide the gradient of a shared row by the cluster's number of members (Chen et
            al., WWW 2023), so that large clusters do not take larger steps under plain SGD.
        personalisation: give every entity an own row of shape ``(N, d)``, the offset from its cluster's row.
            It starts at zero and takes no gradient before :meth:`start_personalisation`.

    Shapes:
        ``(*)`` integer entity ids in, ``(*, d)`` out; None in, ``(N, d)`` out.

    Example:
        >>> table = ClusteredEmbedding(ClusterAssignment(num_entities=1000, max_clusters=8), embedding_dim=4)
        >>> table(torch.tensor([[1, 2, 3], [4, 5, 999]])).shape
        torch.Size([2, 3, 4])
        >>> table.weight.shape
        torch.Size([8, 4])
    """

    def __init__(
        self,
        assignment: ClusterAssignment,
        embedding_dim: int,
        *,
        mean: float = 0.0,
        std: float = 0.01,
        gradient_averaging: bool = False,
        personalisation: bool = False,
    ) -> None:
        super().__init__()
        self.assignment = assignment
        self.embedding_dim = embedding_dim
        self.gradient_averaging = gradient_averaging
        device = assignment.members.device
        self.weight = nn.Parameter(torch.zeros(assignment.max_clusters, embedding_dim, device=device))
        self.personal: nn.Parameter | None = None
        if personalisation:
            rows = torch.zeros(assignment.num_entities, embedding_dim, device=device)
            self.personal = nn.Parameter(rows, requires_grad=False)
        exists = assignment.occupied.unsqueeze(1)
        with torch.no_grad():
            self.weight.normal_(mean, std).mul_(exists)

    def forward(self, entities: Tensor | None, folds: Tensor | None = None) -> Tensor:
        """Embeddings ``(*, d)`` of ``entities`` ``(*)``, or all of them; ``folds`` as for the assignment."""
        clusters = self.assignment(entities, folds)
        if entities is None:
            entities = all_ids(self.num_embeddings, self.weight.device)
        rows = self.rows_of(clusters)
        if self.personal is not None:
            rows = rows + F.embedding(entities.long(), self.personal)
        return record(self, entities, rows)

    def rows_of(self, clusters: Tensor) -> Tensor:
        """Shared rows ``(*, d)`` of ``clusters`` ``(*)``, which must have members."""
        # Its backward pass is several times faster than that of an embedding.
        rows = self.weight.index_select(0, clusters.flatten()).view(*clusters.shape, self.embedding_dim)
        if self.gradient_averaging and rows.requires_grad:
            members = self.assignment.members[clusters].clamp(min=1).unsqueeze(-1)
            averaged: Tensor = _ScaleGradient.apply(rows, 1.0 / members)
            return averaged
        return rows

    @property
    def num_embeddings(self) -> int:
        """Number of entities N."""
        return self.assignment.num_entities

    def start_personalisation(self) -> None:
        """Let the optimiser train the entities' own rows from now on."""
        if self.personal is not None:
            self.personal.requires_grad_(True)

    @property
    def is_plain(self) -> bool:
        """Whether lookups select shared rows, and do nothing else."""
        return not (self.gradient_averaging or self.personal is not None or is_recorded(self))

    @property
    def personalised(self) -> bool:
        """Whether the entities' own rows are being trained."""
        return self.personal is not None and self.personal.requires_grad

    def personalisation_penalty(self) -> Tensor:
        """Sum over entities of the squared distance of their own row to their cluster's, shape ``()``."""
        if self.personal is None:
            return self.weight.new_zeros(())
        return self.personal.square().sum()

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        own = ", personalisation=True" if self.personal is not None else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{own}"


class _ScaleGradient(torch.autograd.Function):
    """The identity forward; the gradient times ``scale`` backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return grads[0] * scale, None
