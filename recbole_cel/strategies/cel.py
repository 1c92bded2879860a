"""Clustered Embedding Learning: K shared rows, and a learned assignment of entities to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, ClassVar, Union

import torch
from torch import Tensor

from ..clustering import ClusterOptimiser, ClusterSettings, hierarchy_penalty
from ..embedding import (
    AdditiveEmbedding,
    ClusterAssignment,
    ClusteredEmbedding,
    cross_fitted,
    level_assignments,
    level_tables,
    levels_of,
)
from ..embedding.packed_codes import bytes_of
from ..options import SettingError
from ..settings import PREFIX, CELSettings
from .base import About, EmbeddingStrategy
from .budget import Cost, FieldBudget
from .registry import register_strategy
from .storage import Storage
from .training import Training

# Of each row: how many members it has, and whether there are any in some fold.
BYTES_OF_COUNTS = 9
# Under a budget in bytes: rows of a level whose codes must leave half of it to the rows, and the share of the rows
# that is given up for codes of one bit less.
FEW_ROWS = 16
ROUNDED_OFF = 0.1
# Folds under a budget in bytes of training that codes without each of more would use up.
FEWER_FOLDS = (2, 1)


@register_strategy
class ClusteredStrategy(EmbeddingStrategy[Union[ClusteredEmbedding, AdditiveEmbedding]]):
    """All tables of the field share one :class:`~..embedding.ClusterAssignment` for each level.

    Under a budget in bytes there are as many levels as ``cel_levels`` says if codes of 16 rows a level leave half
    of it to the rows, and fewer otherwise; under one in bytes of training, fewer folds where even one level would
    not do that. A level has a power of two of rows then if that costs less than a tenth of them, for its codes
    take a bit less.
    """

    name = "cel"
    suffix = "CEL"
    about = About(
        "W1[a1(i)] + ... + WL[aL(i)], with learned assignments a",
        "Chen et al., WWW 2023; levels and folds are ours",
        "K rows in L levels, and a code of each id in each level, in bits",
        "codes made without each fold",
    )
    used: ClassVar[set[str]] = EmbeddingStrategy.used | {
        "personalisation_lambda",
        *(spec.name for spec in fields(ClusterSettings)),
    }

    def cost(self, size: int) -> Cost:
        """Of so many rows, with the present numbers of levels and folds."""
        codes = self._codes(-(-size // self._num_levels))
        counts = size * BYTES_OF_COUNTS
        return codes._replace(parameters=size * self.budget.width, training_codes=codes.training_codes + counts)

    def _codes(self, rows: int) -> Cost:
        """Of the codes alone, with so many rows a level."""
        codes = self.num_entities * bytes_of(self._num_levels, rows)
        return Cost(0, codes, codes * self.num_folds if self.num_folds > 1 else 0)

    @classmethod
    def for_fields(
        cls, budgets: Mapping[str, FieldBudget], settings: CELSettings, options: Any = None
    ) -> dict[str, ClusteredStrategy]:
        """Strategies that have as many folds as the one with the fewest: interactions are in one fold for all."""
        found = {name: cls(budget, settings, options) for name, budget in budgets.items()}
        folds = {strategy.num_folds for strategy in found.values()}
        if len(folds) < 2:
            return found
        return {name: cls(budget, replace(settings, folds=min(folds))) for name, budget in budgets.items()}

    def _size(self) -> int:
        for shape in self._shapes():
            self._num_levels, self.num_folds = shape
            codes = self.budget.used(self._codes(FEW_ROWS))
            if codes <= self.budget.amount / 2 and self.budget.allows(self.cost(1)):
                rows = self.budget.largest(self.cost, self.num_entities)
                # A level of a single row could not be chosen from.
                if rows >= self._num_levels * max(2, self.settings.initial_clusters):
                    return self._rounded(rows) if self.budget.counts_bytes else rows
        self._num_levels = 1
        rows = self.budget.largest(self.cost, self.num_entities)
        rows = self._rounded(rows) if self.budget.counts_bytes else rows
        if rows < self.settings.initial_clusters:
            raise SettingError(
                f"{PREFIX}initial_clusters",
                f"is {self.settings.initial_clusters}, more than the {rows} that embedding_budget leaves to field "
                f"{self.budget.field}",
            )
        return rows

    def _rounded(self, rows: int) -> int:
        """With a power of two of rows in each level, if that costs few rows and saves bytes of codes."""
        power = self._num_levels << (max(1, rows // self._num_levels).bit_length() - 1)
        saves = self.cost(power).codes < self.cost(rows).codes
        return power if saves and power > (1 - ROUNDED_OFF) * rows else rows

    def _shapes(self) -> Iterator[tuple[int, int]]:
        """Numbers of levels and folds to try, the best first; fewer folds only where their codes are paid."""
        fewer = FEWER_FOLDS if self.budget.training_bytes is not None else ()
        for folds in (self.settings.folds, *(some for some in fewer if some < self.settings.folds)):
            for levels in range(self.settings.levels, 0, -1):
                yield levels, folds

    @cached_property
    def assignments(self) -> list[ClusterAssignment]:
        """Of each level."""
        return level_assignments(
            self.num_entities, self.size, self._num_levels, self.num_folds, self.settings.initial_clusters
        )

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Assignments with all interactions are served; those without each fold are for training."""
        found = super().storage(optimiser)
        serving = self.assignments[0].codes.words[-1].numel()
        return found._replace(codes=serving, training_codes=found.codes - serving)

    @property
    def num_clusters(self) -> int:
        """Clusters with members, in all levels."""
        return sum(assignment.num_clusters for assignment in self.assignments)

    @property
    def alike(self) -> bool:
        """Whether every level has a single cluster."""
        return self.num_entities > 1 and self.num_clusters == len(self.assignments)

    def penalty(self, num_examples: int) -> Tensor | None:
        """The penalties of own rows (once they are trained), and of shared rows, if wanted."""
        total, settings = None, self.settings
        for table in self._levels:
            if table.personalised:
                penalty = settings.personalisation_lambda / num_examples * table.personalisation_penalty()
                total = penalty if total is None else total + penalty
            if settings.super_clusters:
                penalty = hierarchy_penalty(table, settings.super_clusters)
                penalty = settings.super_cluster_weight / num_examples * penalty
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
        levels = level_tables(
            self.assignments,
            embedding_dim,
            mean=mean,
            std=std,
            gradient_averaging=self.settings.gradient_averaging,
            personalisation=self.settings.personalisation,
        )
        return levels[0] if len(levels) == 1 else AdditiveEmbedding(levels)
