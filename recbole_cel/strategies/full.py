"""One row for each entity."""

from __future__ import annotations

from typing import ClassVar

from ..embedding import FullEmbedding
from ..options import SettingError
from .base import About, EmbeddingStrategy
from .budget import KEY
from .registry import register_strategy


@register_strategy
class FullStrategy(EmbeddingStrategy[FullEmbedding]):
    """Plain ``nn.Embedding`` tables."""

    name = "full"
    suffix = "Full"
    about = About("E[i]", "", "a row for each id")
    used: ClassVar[set[str]] = {"fields"}

    def _size(self) -> int:
        if self.budget.rows is None:
            raise SettingError(KEY, "has no effect on full tables; leave it out, or choose another strategy")
        return self.num_entities

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> FullEmbedding:
        return FullEmbedding(self.num_entities, embedding_dim, mean=mean, std=std)
