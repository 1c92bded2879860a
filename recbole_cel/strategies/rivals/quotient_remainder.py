"""Complementary partitions by quotient and remainder: no two ids have the same pair of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...embedding import RowTable
from ...options import check_options, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from .parts import drawn, fused, widths_of_parts

OPERATIONS = ("mult", "add", "concat")
# Variance of the quotients' rows about one, at most.
VARIANCE = 0.25


@dataclass(frozen=True)
class Options:
    """Of quotient and remainder.

    Raises:
        SettingError: if an option is out of its range.
    """

    operation: str = option(
        "mult",
        "how the row of the remainder and that of the quotient are put together",
        f"one of {', '.join(OPERATIONS)}",
        lambda v: v in OPERATIONS,
    )

    def __post_init__(self) -> None:
        check_options(self)


class QuotientRemainderEmbedding(RowTable):
    """Row ``R[i mod m] op Q[i div m]``, with m rows in R and ``ceil(N / m)`` in Q.

    Products start near R, as the rows of Q are about one: with rows about zero in both, a product that starts at
    zero would stay there.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, remainders: int, operation: str, *, mean: float, std: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.product = operation == "mult"
        left, right = widths(embedding_dim, operation)
        quotients = -(-num_embeddings // remainders)
        if self.product:
            # Var(RQ) = (Var R + mean^2)(1 + Var Q) - mean^2.
            spread = min(VARIANCE, std**2 / (2 * mean**2)) if mean else VARIANCE
            of_remainders = math.sqrt((std**2 + mean**2) / (1 + spread) - mean**2)
            self.remainders = drawn(remainders, left, mean=mean, std=of_remainders)
            self.quotients = drawn(quotients, right, mean=1.0, std=math.sqrt(spread))
        else:
            summands = 2 if left == embedding_dim else 1
            each = {"mean": mean / summands, "std": std / math.sqrt(summands)}
            self.remainders = drawn(remainders, left, **each)
            self.quotients = drawn(quotients, right, **each)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        number = len(self.remainders)
        remainder = F.embedding(ids % number, self.remainders)
        quotient = F.embedding(ids // number, self.quotients)
        return remainder * quotient if self.product else fused([remainder, quotient], self.embedding_dim)


def widths(width: int, operation: str) -> tuple[int, int]:
    """Of a row of R and of Q. A row of one number cannot be cut: there, two are added up."""
    if operation != "concat" or width == 1:
        return width, width
    left, right = widths_of_parts(width, 2)
    return left, right


@register_strategy
class QuotientRemainderStrategy(EmbeddingStrategy[QuotientRemainderEmbedding]):
    """Shi et al., Compositional Embeddings Using Complementary Partitions for Memory-Efficient Recommendation
    Systems, KDD 2020.

    ``size`` is m, and at least the root of N: there, ``m + N / m`` rows are fewest, about 2 sqrt(N). What is less
    cannot be kept, as it would take partitions into more than two (see ``compositional``).
    """

    name = "quotient_remainder"
    suffix = "QuotientRemainder"
    prefix = "quotient_remainder_"
    Options = Options
    about = About("R[i mod m] * Q[i div m]", "Shi et al., KDD 2020", "m and N / m rows")

    def cost(self, size: int) -> Cost:
        """Of ``size`` remainders and as many quotients as they need."""
        remainders = max(size, self._least)
        quotients = -(-self.num_entities // remainders)
        both = [widths(width, self.options.operation) for width in self.budget.widths]
        return Cost(sum(left * remainders + right * quotients for left, right in both))

    @property
    def _least(self) -> int:
        root = math.isqrt(self.num_entities)
        return root if root**2 == self.num_entities else root + 1

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> QuotientRemainderEmbedding:
        remainders = max(self.size, self._least)
        operation = self.options.operation
        return QuotientRemainderEmbedding(
            self.num_entities, embedding_dim, remainders, operation, mean=mean, std=std
        )
