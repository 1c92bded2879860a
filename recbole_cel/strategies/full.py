"""One row for each entity."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from .base import EmbeddingStrategy


class FullStrategy(EmbeddingStrategy[nn.Embedding]):
    """Plain ``nn.Embedding`` tables; the budget is not used."""

    name = "full"
    suffix = "Full"
    options: ClassVar[set[str]] = set()

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> nn.Embedding:
        return self._full_embedding(embedding_dim, std, mean)
