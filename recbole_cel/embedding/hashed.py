"""An embedding whose rows are shared by entities with the same hash."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .row_table import RowTable


class ModuloHashEmbedding(RowTable):
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
        super().__init__(num_embeddings, embedding_dim)
        if num_rows < 1:
            raise ValueError(f"a hashed table needs at least one row, got num_rows={num_rows}")
        self.weight = nn.Parameter(torch.empty(num_rows, embedding_dim).normal_(mean, std))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        return F.embedding(ids % len(self.weight), self.weight)

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return f"{super().extra_repr()}, num_rows={len(self.weight)}"
