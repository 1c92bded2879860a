"""One row for each entity."""

from __future__ import annotations

from torch import nn

from .base import EmbeddingStrategy


class FullStrategy(EmbeddingStrategy[nn.Embedding]):
    """Plain ``nn.Embedding`` tables; the budget is not used."""

    name = "full"
    suffix = "Full"

    def _make_table(self, embedding_dim: int, std: float) -> nn.Embedding:
        table = nn.Embedding(self.num_entities, embedding_dim)
        nn.init.normal_(table.weight, 0.0, std)
        return table
