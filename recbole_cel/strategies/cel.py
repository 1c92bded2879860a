"""Clustered Embedding Learning: K shared rows, and a learned assignment of entities to them."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from ..clustering import ClusterSettings
from ..embedding import ClusterAssignment, ClusteredEmbedding
from .base import EmbeddingStrategy


class ClusteredStrategy(EmbeddingStrategy[ClusteredEmbedding]):
    """All tables of the field share one :class:`~..embedding.ClusterAssignment`."""

    name = "cel"
    suffix = "CEL"
    options: ClassVar[set[str]] = EmbeddingStrategy.options | {
        "personalisation_lambda",
        *(spec.name for spec in fields(ClusterSettings)),
    }

    def __init__(self, num_entities: int, num_rows: int, settings: ClusterSettings) -> None:
        super().__init__(num_entities, num_rows, settings)
        self.assignment = ClusterAssignment(num_entities, num_rows, settings.initial_clusters)

    def _make_table(self, embedding_dim: int, std: float) -> ClusteredEmbedding:
        return ClusteredEmbedding(
            self.assignment,
            embedding_dim,
            std=std,
            gradient_averaging=self.settings.gradient_averaging,
            personalisation=self.settings.personalisation,
        )
