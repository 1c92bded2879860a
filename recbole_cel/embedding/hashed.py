"""An embedding whose rows are shared by entities with the same hash."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .full import all_ids, check_ids


class ModuloHashEmbedding(nn.Module):
    """Drop-in for ``nn.Embedding`` in which entity ``e`` uses row ``e % num_rows``.

    Args:
        num_embeddings: number of entities N.
        embedding_dim: size d of a row.
        num_rows: number of rows K.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Shapes:
        ``(*)`` integer entity ids in, ``(*, d)`` out; None in, ``(N, d)`` out.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, num_rows: int, *, mean: float = 0.0, std: float = 0.01
    ) -> None:
        super().__init__()
        if num_rows < 1:
            raise ValueError(f"a hashed table needs at least one row, got num_rows={num_rows}")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = nn.Parameter(torch.empty(num_rows, embedding_dim).normal_(mean, std))

    def forward(self, entities: Tensor | None) -> Tensor:
        """Embeddings ``(*, d)`` of ``entities`` ``(*)``, or all of them."""
        if entities is None:
            entities = all_ids(self.num_embeddings, self.weight.device)
        check_ids(entities, self.num_embeddings)
        return F.embedding(entities % len(self.weight), self.weight)

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return f"{self.num_embeddings}, {self.embedding_dim}, num_rows={len(self.weight)}"
