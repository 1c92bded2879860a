"""Training interactions grouped by the entity that they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .bounds import at_once

# The most interactions that one matrix product takes together.
MAX_BLOCK = 8
# Numbers in the products of blocks that are held at once.
MAX_PRODUCTS = 1 << 23


def sum_by_id(ids: Tensor, values: Tensor, number: int) -> Tensor:
    """Sum of ``values`` ``(n,)`` of each of so many ``ids`` ``(n,)``, shape ``(number,)``.

    On a GPU, weighted counts of ``torch.bincount`` are added up in any order; ``index_add_`` can be told not to.
    """
    if values.device.type == "cpu":
        return torch.bincount(ids, values, number)
    return values.new_zeros(number).index_add_(0, ids, values)


class Chunk(NamedTuple):
    """Some entities with all of their interactions.

    Attributes:
        entities: shape ``(E,)``.
        interactions: shape ``(B,)``, numbers of their interactions, entity after entity, fold after fold.
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

    def pieces(self, max_interactions: int) -> Iterator[Chunk]:
        """Parts with at most ``max_interactions`` interactions; all have the chunk's entities."""
        for start in range(0, len(self.interactions), max_interactions):
            part = slice(start, start + max_interactions)
            yield self._replace(interactions=self.interactions[part], owner=self.owner[part], fold=self.fold[part])

    def of(self, chosen: Tensor) -> Chunk:
        """The part of the chunk that belongs to the ``chosen`` entities, a bool mask of shape ``(E,)``."""
        kept = chosen[self.owner]
        return self._replace(
            entities=self.entities[chosen],
            interactions=self.interactions[kept],
            owner=(chosen.cumsum(0) - 1)[self.owner[kept]],
            fold=self.fold[kept],
        )


class Blocks:
    """Cuts groups of interactions into blocks of one length, for matrix products by group.

    Args:
        group: shape ``(B,)``, group of each interaction; groups lie side by side, in order.
        num_groups: number of groups G.

    Attributes:
        length: interactions that a block has room for, about as many as there are in a group, at most 8.
        group: shape ``(n,)``, group of each of n blocks.
    """

    def __init__(self, group: Tensor, num_groups: int) -> None:
        sizes = torch.bincount(group, minlength=num_groups)
        within = torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group]
        mean = len(group) / max(1, int((sizes > 0).sum()))
        self.length = min(MAX_BLOCK, 2 ** round(math.log2(max(1.0, mean))))
        number = (sizes + self.length - 1) // self.length
        first = number.cumsum(0) - number
        self.group = torch.repeat_interleave(torch.arange(num_groups, device=group.device), number)
        self._place = (first[group] + within // self.length) * self.length + within % self.length
        self._num_groups = num_groups

    def pad(self, values: Tensor) -> Tensor:
        """``values`` ``(B, D)`` by block, shape ``(n, length, D)``; zero where a block is not full."""
        padded = values.new_zeros(len(self.group) * self.length, values.shape[1])
        return padded.index_copy_(0, self._place, values).view(len(self.group), self.length, values.shape[1])

    def unpad(self, padded: Tensor) -> Tensor:
        """The values ``(B, D)`` that are in blocks ``(n, length, D)``."""
        return padded.flatten(0, 1)[self._place]

    def sum_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Sum of ``left.T @ right`` over the blocks of each group, shape ``(G, P, Q)``.

        Args:
            left: shape ``(n, length, P)``.
            right: shape ``(n, length, Q)``.
        """
        size = left.shape[2], right.shape[2]
        total = left.new_zeros(self._num_groups, *size)
        number = max(1, at_once(MAX_PRODUCTS, left.device) // (size[0] * size[1]))
        for group, a, b in zip(self.group.split(number), left.split(number), right.split(number)):
            total.index_add_(0, group, torch.bmm(a.transpose(1, 2), b))
        return total


class InteractionsByEntity:
    """An index from entities to their interactions; built once, by one sort.

    Args:
        entities: entity id of every interaction, shape ``(n,)``.
        num_entities: number of entities N.
        folds: fold of every interaction, shape ``(n,)``, or None for one fold.
        num_folds: number of folds F.

    Attributes:
        order: interaction numbers sorted by entity and fold, shape ``(n,)``, int32 where that holds them.
        counts: interactions of each entity, shape ``(N,)``.
        num_folds: number of folds F.
    """

    def __init__(
        self, entities: Tensor, num_entities: int, folds: Tensor | None = None, num_folds: int = 1
    ) -> None:
        # The product of a small integer would be beyond it.
        keys = entities if folds is None else entities.long() * num_folds + folds
        order = torch.argsort(keys, stable=True)
        # Held as long as training lasts, so in as few bytes as will do.
        self.order = order.int() if len(order) < 1 << 31 else order
        self.counts = torch.bincount(entities, minlength=num_entities)
        self.num_folds = num_folds
        self._folds = None if folds is None else folds.to(torch.uint8)
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
        interactions = self.order[self._starts[entities][owner] + within].long()
        fold = torch.zeros_like(owner) if self._folds is None else self._folds[interactions].long()
        return Chunk(entities, interactions, owner, fold, self.num_folds)
