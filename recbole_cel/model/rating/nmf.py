"""Non-negative matrix factorisation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import NonNegativeRecommender


class NMF(NonNegativeRecommender):
    """The inner product of two non-negative rows."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.reset_tables()
        self.project()

    def forward(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""
        users, items = self.rows(interaction)
        return (users * items).sum(dim=-1)
