"""Matrix factorisation with biases."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...inject.entity_table import EntityTable
from .base import RatingRecommender


class MF(RatingRecommender):
    """Mean rating, a global, a user and an item bias, and the inner product of two rows."""

    entity_tables: ClassVar[tuple[EntityTable, ...]] = (
        *RatingRecommender.entity_tables,
        EntityTable("user_bias", "USER_ID_FIELD", first_order=True),
        EntityTable("item_bias", "ITEM_ID_FIELD", first_order=True),
    )

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.user_bias = nn.Embedding(self.n_users, 1)
        self.item_bias = nn.Embedding(self.n_items, 1)
        # Weight decay pulls it to zero, and so the sum to the mean rating.
        self.global_bias = nn.Parameter(torch.zeros(()))
        self.reset_tables()

    def forward(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""
        users, items = self.rows(interaction)
        biases = self.user_bias(interaction[self.USER_ID]) + self.item_bias(interaction[self.ITEM_ID])
        return self.mean_rating + self.global_bias + biases.squeeze(-1) + (users * items).sum(dim=-1)
