"""MEmCom: shared rows, scaled and, if wanted, shifted by numbers of each id's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_bool, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..storage import Storage
from .parts import drawn


@dataclass(frozen=True)
class Options:
    """Of MEmCom.

    Raises:
        SettingError: if an option is out of its range.
    """

    bias: bool = option(False, "each id has a number that is added to its row, too", "True or False", is_bool)

    def __post_init__(self) -> None:
        check_options(self)


class MemComEmbedding(RowTable):
    """Row ``w[i] E[i mod K]``, or ``+ b[i]`` besides; of one number, ``b[i]``, which can be anything already.

    ``w`` starts at one and ``b`` at zero.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, num_rows: int, bias: bool, *, mean: float, std: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.weight: nn.Parameter | None = None
        self.scale: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if embedding_dim == 1:
            self.bias = drawn(num_embeddings, 1, mean=mean, std=std)
            return
        self.weight = drawn(num_rows, embedding_dim, mean=mean, std=std)
        self.scale = nn.Parameter(torch.ones(num_embeddings, 1))
        self.bias = nn.Parameter(torch.zeros(num_embeddings, 1)) if bias else None

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        own = None if self.bias is None else F.embedding(ids, self.bias)
        if self.weight is None or self.scale is None:
            assert own is not None
            return own
        shared = F.embedding(ids % len(self.weight), self.weight) * F.embedding(ids, self.scale)
        return shared if own is None else shared + own


@register_strategy
class MemComStrategy(EmbeddingStrategy[MemComEmbedding]):
    """Pansare et al., Learning Compressed Embeddings for On-Device Inference, MLSys 2022.

    One number an id, and one for its first-order weight, set the least size. ``size`` is K, of the rows that are
    shared. The paper's variant with a bias has another number an id; at equal bytes it did no better on validation
    data (ml-100k).
    """

    name = "memcom"
    suffix = "MemCom"
    prefix = "memcom_"
    Options = Options
    about = About("w[i] E[i mod K]", "Pansare et al., MLSys 2022", "K rows, and a number of each id")

    def cost(self, size: int) -> Cost:
        """Of ``size`` shared rows."""
        wide = [width for width in self.budget.widths if width > 1]
        own = len(wide) * (2 if self.options.bias else 1) + len(self.budget.widths) - len(wide)
        return Cost(size * sum(wide) + self.num_entities * own)

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """The numbers of each id are told from the rows."""
        found = super().storage(optimiser)
        own = [scalar for table in self.tables for scalar in (table.scale, table.bias) if scalar is not None]
        scalars = sum(scalar.numel() * scalar.element_size() for scalar in own)
        return found._replace(rows=found.rows - scalars, scalars=scalars)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> MemComEmbedding:
        bias = self.options.bias
        return MemComEmbedding(self.num_entities, embedding_dim, self.size, bias, mean=mean, std=std)
