"""The clusters of one level during an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .probe import shared_rows


class Codebook:
    """The clusters of one level: as they are when the event begins, and with those that :meth:`extend` adds.

    Args:
        tables: the tables that share the level's assignment.
        entropy: weight of the entropy of the clusters.

    Attributes:
        tables: the tables that share the level's assignment.
        assignment: that assignment.
        alive: shape ``(K,)``, ids of the clusters that anybody has.
        rows: shape ``(K, D)``, their rows.
        column: shape ``(max_clusters,)``, position in ``alive`` of each cluster id.
        price: shape ``(K,)``, what an entity pays, in units of the loss, for being in each cluster.
    """

    def __init__(self, tables: Sequence[ClusteredEmbedding], entropy: float = 0.0) -> None:
        self.tables = tables
        self.assignment = tables[0].assignment
        members = self.assignment.members
        self.alive = self.assignment.occupied.nonzero().squeeze(1)
        self.rows = shared_rows(tables)[self.alive]
        self.column = torch.zeros_like(members)
        self.column[self.alive] = torch.arange(len(self.alive), device=members.device)
        share = (members[self.alive] + 1.0).double() / (self.assignment.num_entities + len(self.alive))
        self.price = -entropy * share.log()

    def choices(self, entities: Tensor) -> Tensor:
        """Positions in ``alive`` of what is assigned to ``entities`` ``(E,)``, view by view: ``(E, F + 1)``."""
        return self.column[self.assignment.views(entities)]

    def extend(self, rows: Tensor, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Take rows ``(K', D)`` of the clusters and of new ones, split from the clusters at ``parents``.

        The new ones get ids that are free. Returned are the ids of parents and children; the tables and the
        assignment are left as they are.
        """
        free = (~self.assignment.occupied).nonzero().squeeze(1)[: len(parents)]
        of_parents = self.alive[parents]
        self.column[free] = torch.arange(len(self.alive), len(rows), device=free.device)
        self.alive = torch.cat([self.alive, free])
        self.price = torch.cat([self.price, self.price[parents]])
        self.rows = rows
        return of_parents, free

    @torch.no_grad()
    def write(self) -> None:
        """Put the rows into the tables."""
        widths = [table.embedding_dim for table in self.tables]
        for table, rows in zip(self.tables, self.rows.split(widths, dim=1)):
            table.weight[self.alive] = rows

    @contextmanager
    def provisionally(self, entities: Tensor, clusters: Tensor) -> Iterator[None]:
        """Within the block, the tables have these rows, and ``entities`` are in ``clusters``."""
        saved = [table.weight.detach()[self.alive] for table in self.tables]
        self.write()
        try:
            with self.assignment.provisionally(entities, clusters):
                yield
        finally:
            with torch.no_grad():
                for table, rows in zip(self.tables, saved):
                    table.weight[self.alive] = rows


def sum_of(rows: Sequence[Tensor], choices: Sequence[Tensor]) -> Tensor:
    """Sum of the rows ``(K, D)`` that are chosen ``(...)`` in each level, shape ``(..., D)``."""
    chosen = (of_level.index_select(0, choice.flatten()) for of_level, choice in zip(rows, choices))
    return torch.stack(list(chosen)).sum(dim=0).view(*choices[0].shape, rows[0].shape[1])
