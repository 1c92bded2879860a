"""What models of explicit ratings have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from ...embedding import project_non_negative
from ...inject.entity_table import EntityTable, InitialRows


def mean_rating(dataset: Any, field: str) -> Tensor:
    """Mean of the training ratings, shape ``()``."""
    ratings: Tensor = dataset.inter_feat[field]
    return ratings.double().mean().float()


class RatingRecommender(GeneralRecommender):
    """A model with latent rows of users and items, trained by squared error.

    Attributes:
        entity_tables: the tables that an embedding strategy may replace.
        user_rows: latent rows of users.
        item_rows: latent rows of items.
        mean_rating: mean of the training ratings, shape ``()``.
    """

    input_type = InputType.POINTWISE
    entity_tables: ClassVar[tuple[EntityTable, ...]] = (
        EntityTable("user_rows", "USER_ID_FIELD"),
        EntityTable("item_rows", "ITEM_ID_FIELD"),
    )
    mean_rating: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.RATING = config["LABEL_FIELD"]
        self.embedding_size = config["embedding_size"]
        self.register_buffer("mean_rating", mean_rating(dataset, self.RATING))
        self.user_rows: nn.Module = nn.Embedding(self.n_users, self.embedding_size)
        self.item_rows: nn.Module = nn.Embedding(self.n_items, self.embedding_size)
        self.loss = nn.MSELoss()

    @abstractmethod
    def forward(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""

    def initial_rows(self, table: EntityTable) -> InitialRows:
        """Mean and deviation of the initial rows of a table; biases start at zero."""
        return InitialRows(0.0, 0.0 if table.first_order else 0.1)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Mean squared error of a batch, shape ``()``."""
        loss: Tensor = self.loss(self.forward(interaction), interaction[self.RATING])
        return loss

    def predict(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""
        return self.forward(interaction)

    def reset_tables(self) -> None:
        """Draw the initial rows of all tables."""
        for table in self.entity_tables:
            mean, std = self.initial_rows(table)
            nn.init.normal_(self.get_submodule(table.path).weight, mean, std)

    def rows(self, interaction: Any) -> tuple[Tensor, Tensor]:
        """Latent rows of the users and of the items of the interactions, each of shape ``(B, d)``."""
        return self.user_rows(interaction[self.USER_ID]), self.item_rows(interaction[self.ITEM_ID])


class NonNegativeRecommender(RatingRecommender):
    """A model whose latent rows are non-negative: drawn so, and projected after each optimiser step."""

    def initial_rows(self, table: EntityTable) -> InitialRows:
        """Rows about a constant one, chosen such that the inner products are about the mean rating."""
        centre = math.sqrt(max(float(self.mean_rating), 0.0) / self.embedding_size)
        return InitialRows(centre, 0.3 * centre)

    @torch.no_grad()
    def project(self) -> None:
        """Make all latent rows non-negative, own rows included."""
        project_non_negative(self.user_rows)
        project_non_negative(self.item_rows)
