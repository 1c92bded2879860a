"""One row for each entity."""

from __future__ import annotations

from typing import ClassVar

from ..embedding import FullEmbedding
from ..options import SettingError
from .base import About, EmbeddingStrategy
from .budget import KEY, FieldBudget
from .registry import register_strategy


def size_of_full(budget: FieldBudget) -> int:
    """Rows of full tables: one for each id.

    Raises:
        SettingError: if there is a budget, which they cannot heed.
    """
    if budget.rows is None:
        raise SettingError(KEY, "has no effect on full tables; leave it out, or choose another strategy")
    return budget.num_entities


@register_strategy
class FullStrategy(EmbeddingStrategy[FullEmbedding]):
    """Plain ``nn.Embedding`` tables."""

    name = "full"
    suffix = "Full"
    about = About("E[i]", "", "a row for each id")
    used: ClassVar[set[str]] = {"fields"}

    def _size(self) -> int:
        return size_of_full(self.budget)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> FullEmbedding:
        return FullEmbedding(self.num_entities, embedding_dim, mean=mean, std=std)
