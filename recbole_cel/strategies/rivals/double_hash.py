"""Bloom embeddings: several hashes of an id into one table, added up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ..base import About, EmbeddingStrategy
from ..registry import register_strategy
from .hashing import double_hashed
from .parts import drawn


@dataclass(frozen=True)
class Options:
    """Of Bloom embeddings.

    Raises:
        SettingError: if an option is out of its range.
    """

    functions: int = option(
        2, "rows of the table that are added up for an id", "an integer >= 1", lambda v: is_int(v, 1)
    )

    def __post_init__(self) -> None:
        check_options(self)


class DoubleHashEmbedding(RowTable):
    """Row ``E[h1(i)] + ... + E[hk(i)]`` of one table E of K rows.

    Hashes are those of double hashing (see ``hashing.py``).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, num_rows: int, functions: int, *, mean: float, std: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.functions = functions
        self.weight = drawn(num_rows, embedding_dim, mean=mean / functions, std=std / math.sqrt(functions))

    def places(self, ids: Tensor) -> Tensor:
        """The rows of each id, shape ``(n, k)``."""
        return double_hashed(ids, len(self.weight), self.functions)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        return F.embedding(self.places(ids), self.weight).sum(dim=1)


@register_strategy
class DoubleHashStrategy(EmbeddingStrategy[DoubleHashEmbedding]):
    """Joan Serra and Alexandros Karatzoglou, Getting Deep Recommenders Fit: Bloom Embeddings for Sparse Binary
    Input/Output Networks, RecSys 2017.

    Hashes need no memory. K rows tell about K^2 / 2 pairs of rows apart, where one hash tells K. Double hashing in
    place of independent hashes is our choice: it leaves out pairs of one row with itself.
    """

    name = "double_hash"
    suffix = "DoubleHash"
    prefix = "double_hash_"
    Options = Options
    about = About("E[h1(i)] + E[h2(i)]", "Serra and Karatzoglou, RecSys 2017", "K rows")

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> DoubleHashEmbedding:
        return DoubleHashEmbedding(
            self.num_entities, embedding_dim, self.size, self.options.functions, mean=mean, std=std
        )
