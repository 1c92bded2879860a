"""Unified embedding: one table for all fields, from which each row takes several short rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ...settings import CELSettings
from ..base import About, EmbeddingStrategy
from ..budget import FieldBudget
from ..registry import register_strategy
from ..storage import Storage, optimiser_bytes, parameter_bytes
from .hashing import hashed
from .parts import drawn


@dataclass(frozen=True)
class Options:
    """Of unified embeddings.

    Raises:
        SettingError: if an option is out of its range.
    """

    lookups: int = option(
        8,
        "short rows that make up a row, which are of one width; the most that its width is a multiple of",
        "an integer >= 1",
        lambda v: is_int(v, 1),
    )

    def __post_init__(self) -> None:
        check_options(self)


class Pool(nn.Module):
    """The table that fields share.

    Args:
        width: numbers in a short row.
        shares: rows for each field, as wide as the fields' rows.
        lookups: short rows in a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.
    """

    def __init__(self, width: int, shares: Mapping[str, int], lookups: int, *, mean: float, std: float) -> None:
        super().__init__()
        self.shares = dict(shares)
        self.weight = drawn(sum(shares.values()) * lookups, width, mean=mean, std=std)

    def share(self, field: str, whole: int) -> int:
        """The part of ``whole`` that is put down to ``field``; those of all fields add up to it."""
        ends = [0, *accumulate(self.shares.values())]
        place = list(self.shares).index(field)
        return whole * ends[place + 1] // ends[-1] - whole * ends[place] // ends[-1]


class UnifiedEmbedding(RowTable):
    """Row ``[T[h(f, 1, i)], ..., T[h(f, l, i)]]`` of id i of field f, from a pool T that fields share."""

    def __init__(self, num_embeddings: int, embedding_dim: int, pool: Pool, field: str) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.pool = pool
        self.salt = zlib.crc32(field.encode())
        self.lookups = embedding_dim // pool.weight.shape[1]

    def places(self, ids: Tensor) -> Tensor:
        """The short rows of each id, shape ``(n, l)``."""
        salts = self.salt + torch.arange(self.lookups, device=ids.device)
        return hashed(ids.unsqueeze(1), salts, len(self.pool.weight))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        return F.embedding(self.places(ids), self.pool.weight).flatten(1)


@register_strategy
class UnifiedStrategy(EmbeddingStrategy[UnifiedEmbedding]):
    """Coleman et al., Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems, NeurIPS
    2023.

    All fields' tables of one width are one (the first of that width in each field, then the second). It has as
    many rows as the fields' budgets allow for together, and each field reports its share of the bytes. Hashes
    differ from field to field, and need no memory. The field whose table is made first says how the rows start.
    """

    name = "unified"
    suffix = "Unified"
    prefix = "unified_"
    Options = Options
    about = About(
        "[T[h(f, 1, i)], ..., T[h(f, l, i)]], with T of all fields f",
        "Coleman et al., NeurIPS 2023",
        "short rows, for all fields together",
    )

    def __init__(self, budget: FieldBudget, settings: CELSettings, options: Any = None) -> None:
        super().__init__(budget, settings, options)
        self._sharing: Sequence[UnifiedStrategy] = [self]
        self._pools: dict[tuple[int, int], Pool] = {}

    @classmethod
    def for_fields(
        cls, budgets: Mapping[str, FieldBudget], settings: CELSettings, options: Any = None
    ) -> dict[str, UnifiedStrategy]:
        """Strategies that share their tables."""
        found = {name: cls(budget, settings, options) for name, budget in budgets.items()}
        pools: dict[tuple[int, int], Pool] = {}
        for strategy in found.values():
            strategy._sharing, strategy._pools = list(found.values()), pools
        return found

    @property
    def numbers(self) -> int:
        """The field's share of the numbers in its tables."""
        own = sum(parameter.numel() for table in self.full_tables for parameter in table.parameters())
        return own + self._share(lambda pool: pool.weight.numel())

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """The field's share of the bytes."""
        full = self.full_tables
        return Storage(
            parameter_bytes(full) + self._share(lambda pool: parameter_bytes([pool])),
            optimiser=optimiser_bytes(full, optimiser)
            + self._share(lambda pool: optimiser_bytes([pool], optimiser)),
        )

    def _share(self, whole: Callable[[Pool], int]) -> int:
        return sum(table.pool.share(self.budget.field, whole(table.pool)) for table in self.tables)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> UnifiedEmbedding:
        place = sum(table.embedding_dim == embedding_dim for table in self.tables)
        key = embedding_dim, place
        if key not in self._pools:
            most = self.options.lookups
            lookups = max(n for n in range(1, embedding_dim + 1) if embedding_dim % n == 0 and n <= most)
            shares = {
                strategy.budget.field: strategy.size
                for strategy in self._sharing
                if strategy.budget.widths.count(embedding_dim) > place
            }
            self._pools[key] = Pool(embedding_dim // lookups, shares, lookups, mean=mean, std=std)
        return UnifiedEmbedding(self.num_entities, embedding_dim, self._pools[key], self.budget.field)
