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
from .hashing import hashed
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


class Bits(nn.Module):
    """So many groups of bits of each id, packed; by a hash of the id until others are put there.

    Args:
        num_entities: number of ids N.
        groups: number of groups G.
        bits: of each group.

    Attributes:
        packed: buffer of shape ``(ceil(G * bits / 8), N)``, uint8.
    """

    packed: Tensor

    def __init__(self, num_entities: int, groups: int, bits: int) -> None:
        super().__init__()
        self.groups, self.bits = groups, bits
        ids = torch.arange(num_entities)
        drawn = [hashed(ids, salt, 2**8) for salt in range(bytes_of_bits(groups, bits))]
        self.register_buffer("packed", torch.stack(drawn).to(torch.uint8))

    def forward(self, ids: Tensor) -> Tensor:
        """What the bits of each group of ``ids`` ``(n,)`` say, ``(n, G)``, from ``0 .. 2 ** bits - 1``, int64."""
        places = torch.arange(8, device=ids.device)
        bits = (self.packed[:, ids].T.long().unsqueeze(2) >> places & 1).flatten(1)
        bits = bits[:, : self.groups * self.bits].view(len(ids), self.groups, self.bits)
        return (bits << torch.arange(self.bits, device=ids.device)).sum(dim=2)

    def put(self, number: int, bits: Tensor, known: Tensor) -> None:
        """Set the bit of this number for the ids at mask ``known`` ``(N,)``; ``bits`` are of shape ``(N,)``."""
        byte, place = self.packed[number // 8], number % 8
        known, bits = known.to(byte.device), bits.to(byte)
        byte.copy_(torch.where(known, byte & (255 - (1 << place)) | bits << place, byte))


def bytes_of_bits(groups: int, bits: int) -> int:
    """Bytes of each id."""
    return -(-groups * bits // 8)


class BitsTable(RowTable):
    """The sum of one row of each of G groups, which the group's bits pick.

    Args:
        bits: of each group for each id; several tables may share them.
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Attributes:
        weight: of shape ``(G * R, d)``, the R rows of each group.
    """

    def __init__(
        self, bits: Bits, num_embeddings: int, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.bits = bits
        weight = torch.empty(bits.groups << bits.bits, embedding_dim)
        weight.normal_(mean / bits.groups, std / bits.groups**0.5)
        self.weight = nn.Parameter(weight)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        places = self.bits(ids) + (torch.arange(self.bits.groups, device=ids.device) << self.bits.bits)
        return F.embedding_bag(places, self.weight, mode="sum")


@register_strategy
class HashGNNStrategy(EmbeddingStrategy[BitsTable]):
    """Rows are picked by bits, which are the signs of a graph layer's output.

    After Tan, Liu, Zhao, Yang, Zhou and Hu, "Learning to hash with graph neural networks for recommender systems"
    (HashGNN), WWW 2020, whose codes are signs of a graph network's output: ``sum_g E_g[bits of group g of i]``,
    with as many rows in a group as its bits can tell apart.

    It needs the interactions once, and stores the bits of each id. Ours: the graph network is not
    trained, but averages random vectors of the counterparts over the graph, in blocks of bounded size; a bit
    says on which side of the median of all ids with interactions an id is, so that rows are used alike; the
    bits then pick rows that are trained. Ids without interactions have bits by a hash, as have all until the
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
    def bits(self) -> Bits:
        """Shared by all tables."""
        return Bits(self.num_entities, self.size, self._bits)

    def cost(self, size: int) -> Cost:
        """Of so many groups."""
        codes = self.num_entities * bytes_of_bits(size, self._bits)
        return Cost((size << self._bits) * self.budget.width, codes)

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
        graph = histories(training, field, self.num_entities)
        number = 0
        for block in projected(graph, self.size * self._bits, training.seed, self.options.layers):
            for column in (block > block[known].median(dim=0).values).T:
                self.bits.put(number, column, known)
                number += 1

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> BitsTable:
        return BitsTable(self.bits, self.num_entities, embedding_dim, mean=mean, std=std)
