"""Ids of a community of the interaction graph share a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..training import Training
from .codes import Codes, bytes_of_codes
from .communities import communities
from .history import histories


@dataclass(frozen=True)
class GraphHashOptions:
    """Options of :class:`GraphHashStrategy`."""

    resolution: Union[float, None] = option(
        None,
        "of the modularity; by default, the least of 1, 2, 4 ... that gives as many communities as there are rows",
        "a number > 0",
        lambda value: value is None or is_number(value, 0, open=True),
    )

    def __post_init__(self) -> None:
        check_options(self)


class CodedTable(RowTable):
    """Row ``E[a(i)]``, with a code a of each id.

    Args:
        codes: one of each id; several tables may share them.
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.
    """

    def __init__(
        self, codes: Codes, num_embeddings: int, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.codes = codes
        self.weight = nn.Parameter(torch.empty(codes.values, embedding_dim).normal_(mean, std))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        return F.embedding(self.codes(ids)[0], self.weight)


@register_strategy
class GraphHashStrategy(EmbeddingStrategy[CodedTable]):
    """Ids share the row of their community, found in the graph of training interactions before training.

    Wu, Loveland, Chen, Liu, Chen, Neves, Jadbabaie, Ju, Shah and Zhao, "GraphHash: graph clustering enables
    parameter efficiency in recommender systems", WWW 2025: ``E[a(i)]`` with communities a by modularity.

    It needs all training interactions once, in memory linear in their number, and stores a code for each id. Ours:
    the communities are found by a method of our own in place of Louvain's (see ``communities.py``); those of a
    field are limited to its rows by the resolution and by merging; ids without interactions, and all ids until
    the data are seen, share the rows by a hash.
    """

    name = "graph_hash"
    suffix = "GraphHash"
    prefix = "graph_hash_"
    Options = GraphHashOptions
    about = About(
        "E[a(i)], with communities a of the interaction graph",
        "Wu et al., WWW 2025, with our own way to find communities",
        "K rows, and a code of each id",
        "the interactions, once",
    )

    @cached_property
    def codes(self) -> Codes:
        """Shared by all tables."""
        return Codes(self.num_entities, self.size)

    @property
    def num_clusters(self) -> int:
        """Rows that ids have."""
        return self.codes.num_used

    def cost(self, size: int) -> Cost:
        """Of so many rows."""
        return Cost(size * self.budget.width, bytes_of_codes(self.num_entities, size))

    @classmethod
    def while_training(cls, strategies: Mapping[str, GraphHashStrategy], training: Training) -> None:
        """Communities are found before training."""
        for name, strategy in strategies.items():
            graph = histories(training, name, strategy.num_entities)
            found = torch.from_numpy(communities(graph, strategy.size, strategy.options.resolution))
            hashed = Codes(strategy.num_entities, strategy.size).every
            strategy.codes.put(torch.where(found < 0, hashed, found))

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> CodedTable:
        return CodedTable(self.codes, self.num_entities, embedding_dim, mean=mean, std=std)
