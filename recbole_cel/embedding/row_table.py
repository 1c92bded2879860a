"""What tables have in common that compute a row from an id."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from .full import all_ids, check_ids


class RowTable(nn.Module, ABC):
    """Drop-in for ``nn.Embedding``; a subclass says in :meth:`rows` what the rows of ids are.

    Args:
        num_embeddings: number of entities N.
        embedding_dim: size d of a row.

    Shapes:
        ``(*)`` integer entity ids in, ``(*, d)`` out; None in, ``(N, d)`` out.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim

    def forward(self, entities: Tensor | None) -> Tensor:
        """Embeddings ``(*, d)`` of ``entities`` ``(*)``, or all of them."""
        if entities is None:
            return self.rows(all_ids(self.num_embeddings, self.device))
        check_ids(entities, self.num_embeddings)
        return self.rows(entities.flatten().long()).view(*entities.shape, self.embedding_dim)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    @torch.no_grad()
    def project_non_negative(self) -> None:
        """Make all rows non-negative: by their parameters, which is enough for sums and products of these."""
        for parameter in self.parameters():
            parameter.clamp_(min=0)

    @abstractmethod
    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``, int64 and in range."""

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return f"{self.num_embeddings}, {self.embedding_dim}"
