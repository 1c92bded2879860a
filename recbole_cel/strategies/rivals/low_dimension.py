"""Narrow rows of each id's own, and a matrix that makes them as wide as the model wants."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from .parts import drawn


class LowDimensionEmbedding(RowTable):
    """Row ``E[i] P``, with E of N x d' and P of d' x d; ``E[i]`` alone if d' is d.

    The rows of P start orthogonal, and E as the rows are to be, so that E can start at zero. Where the rows have a
    mean, both start as independent numbers whose products have it, as rows that are to stay non-negative need it.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, narrow: int, *, mean: float, std: float) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.projection: nn.Parameter | None = None
        if narrow == embedding_dim:
            self.weight = drawn(num_embeddings, narrow, mean=mean, std=std)
        elif mean:
            # For sums of k products: (1 + r^2)^2 = 1 + k (std / mean)^2, with r the ratio of each factor.
            centre = math.sqrt(abs(mean) / narrow)
            ratio = math.sqrt(math.sqrt(1 + narrow * (std / mean) ** 2) - 1)
            self.weight = drawn(num_embeddings, narrow, mean=math.copysign(centre, mean), std=ratio * centre)
            self.projection = drawn(narrow, embedding_dim, mean=centre, std=ratio * centre)
        else:
            self.weight = drawn(num_embeddings, narrow, std=std)
            orthogonal = nn.init.orthogonal_(torch.empty(narrow, embedding_dim))
            self.projection = nn.Parameter(orthogonal * math.sqrt(embedding_dim / narrow))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        narrow = F.embedding(ids, self.weight)
        return narrow if self.projection is None else narrow @ self.projection


@register_strategy
class LowDimensionStrategy(EmbeddingStrategy[LowDimensionEmbedding]):
    """Low-rank factorisation of the table, as Lan et al., ALBERT, ICLR 2020, have it for words.

    ``size`` is d'. Every id has a number of its own in each table at least, first-order weights included.
    """

    name = "low_dimension"
    suffix = "LowDimension"
    about = About("E[i] P", "Lan et al., ICLR 2020", "a narrow row for each id, and P")

    def cost(self, size: int) -> Cost:
        """Of rows of ``size`` numbers."""
        total = 0
        for width in self.budget.widths:
            narrow = self._narrow(size, width)
            total += self.num_entities * narrow + (narrow * width if narrow < width else 0)
        return Cost(total)

    def _size(self) -> int:
        return self.budget.largest(self.cost, max(self.budget.widths))

    def _narrow(self, size: int, width: int) -> int:
        # Where E and P would take more than a full table, the table is full.
        return size if size * (self.num_entities + width) < self.num_entities * width else width

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> LowDimensionEmbedding:
        narrow = self._narrow(self.size, embedding_dim)
        return LowDimensionEmbedding(self.num_entities, embedding_dim, narrow, mean=mean, std=std)
