"""Non-negative matrix factorisation mixed with a multi-layer perceptron."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

from .base import NonNegativeRecommender


class NeuNMF(NonNegativeRecommender):
    """The inner product of two non-negative rows, plus a perceptron of the two."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        sizes = [2 * self.embedding_size, *config["mlp_hidden_size"]]
        self.mlp = MLPLayers(sizes, config["dropout_prob"])
        self.mlp_output = nn.Linear(sizes[-1], 1)
        self.reset_tables()
        self.project()

    def forward(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""
        users, items = self.rows(interaction)
        hidden = self.mlp(torch.cat([users, items], dim=-1))
        return (users * items).sum(dim=-1) + self.mlp_output(hidden).squeeze(-1)
