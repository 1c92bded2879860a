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
    """

    entities: Tensor
    interactions: Tensor
    owner: Tensor

    def sum_by_entity(self, values: Tensor) -> Tensor:
        """Sum ``values`` of shape ``(B, ...)`` over the interactions of each entity, shape ``(E, ...)``."""
        total = values.new_zeros((len(self.entities), *values.shape[1:]))
        return total.index_add_(0, self.owner, values)

    def pieces(self, max_interactions: int) -> Iterator[Chunk]:
        """Parts with at most ``max_interactions`` interactions; all have the chunk's entities."""
        for rows, owner in zip(self.interactions.split(max_interactions), self.owner.split(max_interactions)):
            yield Chunk(self.entities, rows, owner)

    def of(self, chosen: Tensor) -> Chunk:
        """The part of the chunk that belongs to the ``chosen`` entities, a bool mask of shape ``(E,)``."""
        kept = chosen[self.owner]
        position = chosen.cumsum(0) - 1
        return Chunk(self.entities[chosen], self.interactions[kept], position[self.owner[kept]])


class InteractionsByEntity:
    """An index from entities to their interactions; built once, by one sort.

    Args:
        entities: entity id of every interaction, shape ``(n,)``.
        num_entities: number of entities N.

    Attributes:
        order: interaction numbers sorted by entity, shape ``(n,)``.
        counts: interactions of each entity, shape ``(N,)``.
    """

    def __init__(self, entities: Tensor, num_entities: int) -> None:
        self.order = torch.argsort(entities, stable=True)
        self.counts = torch.bincount(entities, minlength=num_entities)
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
        return Chunk(entities, self.order[self._starts[entities][owner] + within], owner)
