"""Training interactions grouped by the entity that they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Chunk(NamedTuple):
    """Some entities with all of their interactions.

    Attributes:
        entities: shape ``(E,)``.
        interactions: shape ``(B,)``, numbers of their interactions, entity after entity.
        owner: shape ``(B,)``, position in ``entities`` of each interaction's entity.
        fold: shape ``(B,)``, fold of each interaction.
        num_folds: number of folds F.
    """

    entities: Tensor
    interactions: Tensor
    owner: Tensor
    fold: Tensor
    num_folds: int

    def sum_by_entity(self, values: Tensor) -> Tensor:
        """Sum ``values`` of shape ``(B, ...)`` over the interactions of each entity, shape ``(E, ...)``."""
        total = values.new_zeros((len(self.entities), *values.shape[1:]))
        return total.index_add_(0, self.owner, values)

    def sum_by_fold(self, values: Tensor) -> Tensor:
        """Sum ``values`` of shape ``(B, ...)`` over each entity's interactions by fold, shape ``(E, F, ...)``."""
        total = values.new_zeros((len(self.entities) * self.num_folds, *values.shape[1:]))
        total.index_add_(0, self.owner * self.num_folds + self.fold, values)
        return total.view(len(self.entities), self.num_folds, *values.shape[1:])

    def pieces(self, max_interactions: int) -> Iterator[Chunk]:
        """Parts with at most ``max_interactions`` interactions; all have the chunk's entities."""
        for start in range(0, len(self.interactions), max_interactions):
            part = slice(start, start + max_interactions)
            yield self._replace(interactions=self.interactions[part], owner=self.owner[part], fold=self.fold[part])

    def of(self, chosen: Tensor) -> Chunk:
        """The part of the chunk that belongs to the ``chosen`` entities, a bool mask of shape ``(E,)``."""
        kept = chosen[self.owner]
        position = chosen.cumsum(0) - 1
        return self._replace(
            entities=self.entities[chosen],
            interactions=self.interactions[kept],
            owner=position[self.owner[kept]],
            fold=self.fold[kept],
        )


def views(by_fold: Tensor) -> Tensor:
    """Sums without each fold and last with all, shape ``(E, F + 1, ...)``, from sums by fold ``(E, F, ...)``.

    With one fold there is nothing to leave out: one view, shape ``(E, 1, ...)``.
    """
    total = by_fold.sum(dim=1, keepdim=True)
    return total if by_fold.shape[1] == 1 else torch.cat([total - by_fold, total], dim=1)


class InteractionsByEntity:
    """An index from entities to their interactions; built once, by one sort.

    Args:
        entities: entity id of every interaction, shape ``(n,)``.
        num_entities: number of entities N.
        folds: fold of every interaction, shape ``(n,)``, or None for one fold.
        num_folds: number of folds F.

    Attributes:
        order: interaction numbers sorted by entity, shape ``(n,)``.
        counts: interactions of each entity, shape ``(N,)``.
    """

    def __init__(
        self, entities: Tensor, num_entities: int, folds: Tensor | None = None, num_folds: int = 1
    ) -> None:
        self.order = torch.argsort(entities, stable=True)
        self.counts = torch.bincount(entities, minlength=num_entities)
        self.num_folds = num_folds
        self._folds = folds
        self._starts = self.counts.cumsum(0) - self.counts

    def chunks(self, entities: Tensor, max_interactions: int) -> Iterator[Chunk]:
        """Yield ``entities`` in the given order with their interactions, in bounded portions.

        A chunk has at most ``max_interactions`` interactions, or one entity, which :meth:`Chunk.pieces` can
        cut. Entities without interactions come along like any other.
        """
        counts = self.counts[entities]
        ends = counts.cumsum(0)
        first, done = 0, 0
        while first < len(entities):
            last = int(torch.searchsorted(ends, done + max_interactions, right=True))
            last = max(last, first + 1)
            yield self._chunk(entities[first:last], counts[first:last])
            first, done = last, int(ends[last - 1])

    def _chunk(self, entities: Tensor, counts: Tensor) -> Chunk:
        owner = torch.repeat_interleave(torch.arange(len(entities), device=entities.device), counts)
        within = torch.arange(len(owner), device=entities.device) - (counts.cumsum(0) - counts)[owner]
        interactions = self.order[self._starts[entities][owner] + within]
        fold = torch.zeros_like(owner) if self._folds is None else self._folds[interactions]
        return Chunk(entities, interactions, owner, fold, self.num_folds)
