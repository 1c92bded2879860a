"""Clustered compositional embeddings: k-means of what was learned, and a hash for what is learned next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_int, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..training import Training
from .acting import ActingHook
from .codes import FEW_VALUES, Codes, bytes_of_codes
from .hashing import hashed
from .k_means import k_means
from .row_state import renew_state

BYTES_OF_A_SALT = 8


@dataclass(frozen=True)
class CCEOptions:
    """Options of :class:`CCEStrategy`."""

    columns: int = option(
        4,
        "parts that a row is made of, or fewer if their codes, of 16 clusters, took half of the bytes",
        "an integer from 1 to 64",
        lambda v: is_int(v, 1, 64),
    )
    interval: float = option(
        1.0, "epochs from one clustering to the next", "a number > 0", lambda v: is_number(v, 0, open=True)
    )
    clusterings: int = option(6, "how often ids are clustered", "an integer >= 0", lambda v: is_int(v, 0))

    def __post_init__(self) -> None:
        check_options(self)


class Columns(nn.Module):
    """Cluster and hash of each id in each column; all tables of a field share them.

    Args:
        num_entities: number of ids N.
        rows: clusters, and values of the hash, in each column.
        columns: number of columns C.

    Attributes:
        clusters: by a hash until ids are clustered.
        salts: buffer of shape ``(C,)``, int64, of the hash in each column.
    """

    salts: Tensor

    def __init__(self, num_entities: int, rows: int, columns: int) -> None:
        super().__init__()
        self.num_entities, self.num_rows = num_entities, rows
        self.clusters = Codes(num_entities, rows, columns)
        self.register_buffer("salts", torch.arange(columns, 2 * columns))

    def hashes(self, ids: Tensor) -> Tensor:
        """Shape ``(C, n)``, int64."""
        return hashed(ids, self.salts.unsqueeze(1), self.num_rows)


class ColumnTable(RowTable):
    """Column c of the row of i is ``T_c[a_c(i)] + R_c[h_c(i)]``, of width d / C.

    A table narrower than C has the first column only.

    Args:
        columns: who is in which cluster.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Attributes:
        weight: of shape ``(2, K, d)``: T of all columns side by side, and R.
    """

    def __init__(self, columns: Columns, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(columns.num_entities, embedding_dim)
        self.columns = columns
        number = len(columns.salts) if embedding_dim >= len(columns.salts) else 1
        self.splits = [len(part) for part in torch.arange(embedding_dim).tensor_split(number)]
        weight = torch.empty(2, columns.num_rows, embedding_dim).normal_(0, std / 2**0.5)
        weight[0] += mean
        self.weight = nn.Parameter(weight)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        clusters, hashes = self.columns.clusters(ids), self.columns.hashes(ids)
        parts = [
            F.embedding(clusters[column], shared) + F.embedding(hashes[column], residual)
            for column, (shared, residual) in enumerate(zip(*map(self._by_column, self.weight)))
        ]
        return torch.cat(parts, dim=1)

    def column(self, ids: Tensor, column: int) -> Tensor:
        """One column of the rows of ``ids`` ``(n,)``; of no width where the table has none."""
        if column >= len(self.splits):
            return self.weight.new_zeros(len(ids), 0)
        clusters, hashes = self.columns.clusters(ids)[column], self.columns.hashes(ids)[column]
        shared, residual = (self._by_column(part)[column] for part in self.weight)
        return F.embedding(clusters, shared) + F.embedding(hashes, residual)

    @torch.no_grad()
    def replace(self, column: int, centres: Tensor) -> None:
        """T of a column becomes ``centres``, and R zero."""
        for part, rows in zip(self.weight, (centres, 0)):
            self._by_column(part)[column].copy_(torch.as_tensor(rows).to(self.weight))

    def _by_column(self, part: Tensor) -> tuple[Tensor, ...]:
        return part.split(self.splits, dim=1)


@register_strategy
class CCEStrategy(EmbeddingStrategy[ColumnTable]):
    """A sum of a cluster's row and a hashed row in each column; now and then k-means makes new clusters.

    Tsang and Ahle, "Clustering the sketch: dynamic compression for embedding tables", NeurIPS 2023. In column c
    the row of i is ``T_c[a_c(i)] + R_c[h_c(i)]``. At a clustering, k-means of these rows of all ids gives a_c
    and T_c, the hash is drawn anew and R_c starts from zero.

    It needs k-means of N rows now and then, on a bounded sample, and stores a code for each id and column. Ours:
    a table narrower than the number of columns (first-order weights) goes with the first column, whose clusters
    are those of both; Adam's memory of directions ends at a clustering, and step sizes go on from their mean.
    """

    name = "cce"
    suffix = "CCE"
    prefix = "cce_"
    Options = CCEOptions
    about = About(
        "for each column c: Tc[ac(i)] + Rc[hc(i)]",
        "Tsang, Ahle, NeurIPS 2023",
        "K rows, and a code of each id in each column, in bits",
        "k-means of all rows now and then",
    )

    @cached_property
    def columns(self) -> Columns:
        """Shared by all tables."""
        return Columns(self.num_entities, self.size, self._num_columns)

    def cost(self, size: int) -> Cost:
        """Of so many clusters in each column, and as many hashed rows."""
        codes = bytes_of_codes(self.num_entities, size, self._num_columns)
        return Cost(2 * size * self.budget.width, codes + self._num_columns * BYTES_OF_A_SALT)

    @classmethod
    def while_training(cls, strategies: Mapping[str, CCEStrategy], training: Training) -> CCEHook:
        """Ids are clustered after each of the first epochs."""
        options = next(iter(strategies.values())).options
        return CCEHook(strategies, training, options.interval, options.clusterings)

    def _size(self) -> int:
        """The largest, with as many columns as leave half of the budget to the rows."""
        most = min(self.options.columns, max(self.budget.widths, default=1))
        for number in range(most, 0, -1):
            self._num_columns = number
            if self.budget.used(self.cost(FEW_VALUES)._replace(parameters=0)) <= self.budget.amount / 2:
                break
        size = super()._size()
        # What is left of the bytes of an id has room for further columns.
        for number in range(self._num_columns + 1, most + 1):
            self._num_columns = number
            if not self.budget.allows(self.cost(size)):
                self._num_columns = number - 1
                break
        return size

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> ColumnTable:
        return ColumnTable(self.columns, embedding_dim, mean=mean, std=std)


class CCEHook(ActingHook[CCEStrategy]):
    """Clusters ids by their present rows, column by column."""

    what = "clustering"

    def act(self, name: str, strategy: CCEStrategy) -> dict[str, float]:
        """Cluster the ids of one field."""
        columns, tables = strategy.columns, strategy.tables
        device, number = columns.salts.device, len(columns.salts)
        codes = list[Tensor]()
        for column in range(number):

            def rows(ids: Tensor, column: int = column) -> Tensor:
                return torch.cat([table.column(ids.to(device), column) for table in tables], dim=1)

            centres, clusters = k_means(rows, strategy.num_entities, columns.num_rows, self.seed + column)
            codes.append(clusters)
            widths = [table.splits[column] if column < len(table.splits) else 0 for table in tables]
            for table, of_table in zip(tables, centres.split(widths, dim=1)):
                if of_table.shape[1]:
                    table.replace(column, of_table)
        columns.clusters.put(torch.stack(codes))
        columns.salts += number
        for table in tables:
            renew_state(self.training.optimiser, table.weight)
        return {"clusters": float(columns.clusters.num_used)}
