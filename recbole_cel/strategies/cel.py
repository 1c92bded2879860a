"""Clustered Embedding Learning: K shared rows, and a learned assignment of entities to them."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar, Union

from ..clustering import ClusterSettings
from ..embedding import AdditiveEmbedding, ClusterAssignment, ClusteredEmbedding
from .base import EmbeddingStrategy


class ClusteredStrategy(EmbeddingStrategy[Union[ClusteredEmbedding, AdditiveEmbedding]]):
    """All tables of the field share one :class:`~..embedding.ClusterAssignment` for each level."""

    name = "cel"
    suffix = "CEL"
    options: ClassVar[set[str]] = EmbeddingStrategy.options | {
        "personalisation_lambda",
        *(spec.name for spec in fields(ClusterSettings)),
    }

    def __init__(self, num_entities: int, num_rows: int, settings: ClusterSettings) -> None:
        super().__init__(num_entities, num_rows, settings)
        # A level of a single row could not be chosen from.
        levels = max(1, min(settings.levels, num_rows // max(2, settings.initial_clusters)))
        shares = [(num_rows + level) // levels for level in reversed(range(levels))]
        # Only the first level may start from several clusters: ids modulo a number tell no more a second time.
        starts = [settings.initial_clusters] + [1] * (levels - 1)
        self.assignments = [
            ClusterAssignment(num_entities, clusters, start, settings.folds)
            for clusters, start in zip(shares, starts)
        ]

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> ClusteredEmbedding | AdditiveEmbedding:
        levels = [
            ClusteredEmbedding(
                assignment,
                embedding_dim,
                mean=0.0 if level else mean,
                std=0.0 if level else std,
                gradient_averaging=self.settings.gradient_averaging,
                personalisation=self.settings.personalisation and level == 0,
            )
            for level, assignment in enumerate(self.assignments)
        ]
        return levels[0] if len(levels) == 1 else AdditiveEmbedding(levels)
