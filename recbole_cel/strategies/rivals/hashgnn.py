"""Bits of an id, the signs of a graph layer's output, pick its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..training import Training
from .codes import Codes, bytes_of_codes
from .history import activity, histories
from .history_codes import projected

MOST_BITS = 15


@dataclass(frozen=True)
class HashGNNOptions:
    """Options of :class:`HashGNNStrategy`."""

    groups: int = option(
        8,
        "groups of bits, each of which picks a row, at least; a group has as many bits as leave so many, if any",
        "an integer from 1 to 1024",
        lambda v: is_int(v, 1, 1024),
    )
    layers: int = option(2, "graph layers", "an integer from 1 to 16", lambda v: is_int(v, 1, 16))

    def __post_init__(self) -> None:
        check_options(self)


class BitsTable(RowTable):
    """The sum of one row of each of G groups, which the group's bits pick.

    Args:
        codes: bits of each group for each id; several tables may share them.
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Attributes:
        weight: of shape ``(G * R, d)``, the R rows of each group.
    """

    def __init__(
        self, codes: Codes, num_embeddings: int, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.codes = codes
        groups = len(codes.codes)
        weight = torch.empty(groups * codes.values, embedding_dim).normal_(mean / groups, std / groups**0.5)
        self.weight = nn.Parameter(weight)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        codes = self.codes(ids).T
        places = codes + torch.arange(codes.shape[1], device=ids.device) * self.codes.values
        return F.embedding_bag(places, self.weight, mode="sum")


@register_strategy
class HashGNNStrategy(EmbeddingStrategy[BitsTable]):
    """Rows are picked by bits, which are the signs of a graph layer's output.

    After Tan, Liu, Zhao, Yang, Zhou and Hu, "Learning to hash with graph neural networks for recommender systems"
    (HashGNN), WWW 2020, whose codes are signs of a graph network's output: ``sum_g E_g[bits of group g of i]``,
    with as many rows in a group as its bits can tell apart.

    It needs the interactions once, and stores a code for each id and group. Ours: the graph network is not
    trained, but averages random vectors of the counterparts over the graph, in blocks of bounded size; a bit
    says on which side of the median of all ids with interactions an id is, so that rows are used alike; the
    bits then pick rows that are trained. Ids without interactions have codes by a hash, as have all until the
    data are seen.
    """

    name = "hashgnn"
    suffix = "HashGNN"
    prefix = "hashgnn_"
    Options = HashGNNOptions
    about = About(
        "for groups g of bits, sum of Eg[bits of i], the signs of a graph layer's output",
        "after Tan et al., WWW 2020, with an untrained graph layer",
        "rows of each group, and the bits of each id",
        "the interactions, once",
    )

    @cached_property
    def codes(self) -> Codes:
        """Shared by all tables."""
        return Codes(self.num_entities, 2**self._bits, self.size)

    def cost(self, size: int) -> Cost:
        """Of so many groups."""
        rows = 2**self._bits
        return Cost(size * rows * self.budget.width, bytes_of_codes(self.num_entities, rows, size))

    def _size(self) -> int:
        """The number of groups, of as many bits as leave enough of them, and half of the budget to the rows."""
        self._bits = 1
        for groups in range(self.options.groups, 0, -1):
            if self.budget.used(self.cost(groups)._replace(parameters=0)) <= self.budget.amount / 2:
                break
        for bits in range(MOST_BITS, 0, -1):
            self._bits = bits
            if self.budget.allows(self.cost(groups)):
                break
        return super()._size()

    @classmethod
    def while_training(cls, strategies: Mapping[str, HashGNNStrategy], training: Training) -> None:
        """Bits are found before training."""
        for name, strategy in strategies.items():
            strategy.find(training, name)

    def find(self, training: Training, field: str) -> None:
        """Find the bits of each id by the training interactions of ``field``."""
        known = activity(training, field, self.num_entities) > 0
        if not known.any():
            return
        codes = torch.zeros(self.size, self.num_entities, dtype=torch.int64)
        graph = histories(training, field, self.num_entities)
        number = 0
        for block in projected(graph, self.size * self._bits, training.seed, self.options.layers):
            bits = block > block[known].median(dim=0).values
            for column in bits.T.long():
                codes[number // self._bits] += column << number % self._bits
                number += 1
        hashed = self.codes.codes.long().cpu()
        self.codes.put(torch.where(known, codes, hashed))

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> BitsTable:
        return BitsTable(self.codes, self.num_entities, embedding_dim, mean=mean, std=std)
