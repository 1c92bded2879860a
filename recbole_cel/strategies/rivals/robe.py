"""ROBE: rows are blocks of one circular array."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ..base import About, EmbeddingStrategy
from ..registry import register_strategy
from .hashing import hashed
from .parts import drawn


@dataclass(frozen=True)
class Options:
    """Of ROBE.

    Raises:
        SettingError: if an option is out of its range.
    """

    block: int = option(
        2, "numbers that are read side by side; a row at most", "an integer >= 1", lambda v: is_int(v, 1)
    )

    def __post_init__(self) -> None:
        check_options(self)


class RobeEmbedding(RowTable):
    """Number c of row i is ``M[(h(i, c div Z) + c mod Z) mod |M|]``, for blocks of Z numbers of an array M."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, length: int, block: int, *, mean: float, std: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.block = min(block, embedding_dim)
        self.array = drawn(length, mean=mean, std=std)

    def places(self, ids: Tensor) -> Tensor:
        """Where in the array each number of the rows is, shape ``(n, d)``."""
        columns = torch.arange(self.embedding_dim, device=ids.device)
        blocks = torch.arange(-(-self.embedding_dim // self.block), device=ids.device)
        starts = hashed(ids.unsqueeze(1), blocks, len(self.array))
        return (starts[:, columns // self.block] + columns % self.block) % len(self.array)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        places = self.places(ids)
        return self.array.index_select(0, places.flatten()).view(places.shape)


@register_strategy
class RobeStrategy(EmbeddingStrategy[RobeEmbedding]):
    """Desai, Chou and Shrivastava, Random Offset Block Embedding (ROBE) for Compressed Embedding Tables in Deep
    Learning Recommendation Systems, MLSys 2022.

    The paper has one array for all tables of a model. Here each table has its own, as long as ``size`` rows of it:
    latent rows and first-order weights are of other kinds, and fields have their own budgets (``unified`` shares).
    Short blocks cost time on large arrays, and do better than long ones (validation, ml-100k).
    """

    name = "robe"
    suffix = "Robe"
    prefix = "robe_"
    Options = Options
    about = About("blocks of a circular array, at h(i, j)", "Desai et al., MLSys 2022", "an array of K d numbers")

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> RobeEmbedding:
        length, block = self.size * embedding_dim, self.options.block
        return RobeEmbedding(self.num_entities, embedding_dim, length, block, mean=mean, std=std)
