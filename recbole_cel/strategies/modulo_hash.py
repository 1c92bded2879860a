"""The simplest rival at the same size: entities share a row by their id modulo the number of rows."""

from __future__ import annotations

from ..embedding import ModuloHashEmbedding
from .base import About, EmbeddingStrategy
from .registry import register_strategy


@register_strategy
class ModuloHashStrategy(EmbeddingStrategy[ModuloHashEmbedding]):
    """Row ``id % num_rows`` in every table."""

    name = "modulo_hash"
    suffix = "ModuloHash"
    about = About("E[i mod K]", "Weinberger et al., ICML 2009", "K rows")

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> ModuloHashEmbedding:
        return ModuloHashEmbedding(self.num_entities, embedding_dim, self.size, mean=mean, std=std)
