"""Rows put together of several parts, each hashed into a table of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ..base import About, EmbeddingStrategy
from ..registry import register_strategy
from .hashing import hashed
from .parts import drawn_parts, widths_of_parts


@dataclass(frozen=True)
class Options:
    """Of compositional embeddings.

    Raises:
        SettingError: if an option is out of its range.
    """

    parts: int = option(
        8, "parts of a row; no more than it has numbers", "an integer >= 1", lambda v: is_int(v, 1)
    )

    def __post_init__(self) -> None:
        check_options(self)


class CompositionalEmbedding(RowTable):
    """Row ``[T1[h1(i)], ..., Tp[hp(i)]]``: part j of K rows, d / p wide."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, num_rows: int, parts: int, *, mean: float, std: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        widths = widths_of_parts(embedding_dim, parts)
        self.parts = drawn_parts([num_rows] * len(widths), widths, mean=mean, std=std)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        return torch.cat(
            [F.embedding(hashed(ids, salt, len(part)), part) for salt, part in enumerate(self.parts)], dim=-1
        )


@register_strategy
class CompositionalStrategy(EmbeddingStrategy[CompositionalEmbedding]):
    """Shi et al., Compositional Embeddings Using Complementary Partitions for Memory-Efficient Recommendation
    Systems, KDD 2020, with hashes as partitions.

    The paper asks for partitions that together tell all ids apart, which fixes how many rows there are. Hashes, as
    in later comparisons (Tsang and Ahle, NeurIPS 2023, with four parts), tell all but a few apart, and allow for
    any number of rows. Eight parts did better than four on validation data (ml-100k). Rows of one number have one.
    """

    name = "compositional"
    suffix = "Compositional"
    prefix = "compositional_"
    Options = Options
    about = About("[T1[h1(i)], ..., Tp[hp(i)]]", "Shi et al., KDD 2020", "p tables of K rows, d / p wide")

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> CompositionalEmbedding:
        parts = self.options.parts
        return CompositionalEmbedding(self.num_entities, embedding_dim, self.size, parts, mean=mean, std=std)
