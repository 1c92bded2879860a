"""Clustered Embedding Learning: K shared rows, and a learned assignment of entities to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import cached_property
from typing import ClassVar, Union

import torch
from torch import Tensor

from ..clustering import ClusterOptimiser, ClusterSettings, hierarchy_penalty
from ..embedding import (
    AdditiveEmbedding,
    ClusterAssignment,
    ClusteredEmbedding,
    cross_fitted,
    levels_of,
    smallest_integer_type,
)
from .base import EmbeddingStrategy
from .registry import register_strategy
from .storage import Storage
from .training import Training


@register_strategy
class ClusteredStrategy(EmbeddingStrategy[Union[ClusteredEmbedding, AdditiveEmbedding]]):
    """All tables of the field share one :class:`~..embedding.ClusterAssignment` for each level.

    Under a budget in bytes there are as many levels as ``cel_levels`` says if their codes leave half of it to the
    rows, and fewer otherwise.
    """

    name = "cel"
    suffix = "CEL"
    used: ClassVar[set[str]] = EmbeddingStrategy.used | {
        "personalisation_lambda",
        *(spec.name for spec in fields(ClusterSettings)),
    }

    def _rows(self) -> int:
        settings = self.settings
        self._num_levels, rows = settings.levels, 0
        while True:
            of_ids = 0.0
            # The type of the codes depends on the rows, and these on the bytes of the codes.
            for max_clusters in (1 << 8, 1 << 15, 1 << 31):
                of_ids = self.num_entities * self._num_levels * smallest_integer_type(max_clusters).itemsize
                if self.budget.bytes is not None and self._num_levels > 1 and of_ids > self.budget.bytes / 2:
                    break
                rows = self.budget.rows_within(of_ids)
                if -(-rows // self._num_levels) <= max_clusters:
                    # A level of a single row could not be chosen from.
                    most = max(1, rows // max(2, settings.initial_clusters))
                    self._num_levels = min(self._num_levels, most)
                    return rows
            self._num_levels = max(1, self._num_levels - 1)

    @cached_property
    def assignments(self) -> list[ClusterAssignment]:
        """Of each level."""
        levels = self._num_levels
        shares = [(self.num_rows + level) // levels for level in reversed(range(levels))]
        # Only the first level may start from several clusters: ids modulo a number tell no more a second time.
        starts = [self.settings.initial_clusters] + [1] * (levels - 1)
        return [
            ClusterAssignment(self.num_entities, clusters, start, self.settings.folds)
            for clusters, start in zip(shares, starts)
        ]

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Assignments with all interactions are served; those without each fold are for training."""
        found = super().storage(optimiser)
        serving = sum(a.clusters.numel() * a.clusters.element_size() for a in self.assignments)
        return found._replace(codes=serving, training_codes=found.codes - serving)

    @property
    def num_clusters(self) -> int:
        """Clusters with members, in all levels."""
        return sum(assignment.num_clusters for assignment in self.assignments)

    @property
    def alike(self) -> bool:
        """Whether every level has a single cluster."""
        return self.num_entities > 1 and self.num_clusters == len(self.assignments)

    def penalty(self, num_interactions: int) -> Tensor | None:
        """The penalties of own rows (once they are trained), and of shared rows, if wanted."""
        total, settings = None, self.settings
        for table in self._levels:
            if table.personalised:
                penalty = settings.personalisation_lambda / num_interactions * table.personalisation_penalty()
                total = penalty if total is None else total + penalty
            if settings.super_clusters:
                penalty = hierarchy_penalty(table, settings.super_clusters)
                penalty = settings.super_cluster_weight / num_interactions * penalty
                total = penalty if total is None else total + penalty
        return total

    @classmethod
    def lookups(cls, columns: Sequence[Tensor], fold: int | None = None) -> AbstractContextManager[None]:
        """Each interaction looks up what was assigned without its fold."""
        return cross_fitted(columns, fold)

    @classmethod
    def while_training(
        cls, strategies: Mapping[str, ClusteredStrategy], training: Training
    ) -> ClusterOptimiser | None:
        """Clusters are split and entities reassigned."""
        settings = next(iter(strategies.values())).settings
        return ClusterOptimiser(
            {name: strategy.tables for name, strategy in strategies.items()},
            training.objective(),
            settings,
            steps_per_epoch=training.steps_per_epoch,
            optimiser=training.optimiser,
            seed=training.seed,
            on_event=training.on_event,
            progress=training.progress,
        )

    # Walking through all modules at each batch would cost more than some of the batch's work.
    @cached_property
    def _levels(self) -> list[ClusteredEmbedding]:
        return [level for table in self.tables for level in levels_of(table)]

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
