"""Binary codes: groups of the bits of an id's hash pick a row each."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from .hashing import hash_bits
from .parts import drawn_parts, fused, widths_of_parts

OPERATIONS = ("sum", "concat")


@dataclass(frozen=True)
class Options:
    """Of binary codes.

    Raises:
        SettingError: if an option is out of its range.
    """

    groups: int = option(8, "groups of bits, with a table each", "an integer >= 1", lambda v: is_int(v, 1))
    operation: str = option(
        "concat",
        "how the rows of the groups are put together",
        f"one of {', '.join(OPERATIONS)}",
        lambda v: v in OPERATIONS,
    )

    def __post_init__(self) -> None:
        check_options(self)


def bits_of_groups(bits: int, groups: int) -> list[int]:
    """So many bits shared out, as evenly as can be."""
    return [(bits + group) // groups for group in reversed(range(groups))]


class BinaryCodeHashEmbedding(RowTable):
    """Row ``[T1[c1(i)], ..., Tg[cg(i)]]``, or the sum of these, which are then as wide as the row.

    Group j of the bits of a hash of i is ``cj(i)``, and table j has a row for each value of it. The hash has a
    word of 32 bits for each group, of which the lowest make the group.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        bits: int,
        groups: int,
        operation: str,
        *,
        mean: float,
        std: float,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        widths = widths_of_groups(embedding_dim, groups, operation)
        self.bits = bits_of_groups(bits, groups)
        summands = groups if widths[0] == embedding_dim else 1
        rows = [2**number for number in self.bits]
        self.tables = drawn_parts(rows, widths, summands=summands, mean=mean, std=std)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        found = [
            F.embedding(hash_bits(ids, group) & (2**bits - 1), table)
            for group, (bits, table) in enumerate(zip(self.bits, self.tables))
        ]
        return fused(found, self.embedding_dim)


def widths_of_groups(width: int, groups: int, operation: str) -> list[int]:
    """Of the row of each group; what cannot be cut into so many parts is added up."""
    if operation == "sum" or groups > width:
        return [width] * groups
    return widths_of_parts(width, groups)


@register_strategy
class BinaryCodeHashStrategy(EmbeddingStrategy[BinaryCodeHashEmbedding]):
    """Yan et al., Binary Code based Hash Embedding for Web-scale Applications, CIKM 2021.

    ``size`` is the number of bits in all groups. Tables are of powers of two, so that, with eight groups, up to a
    ninth of a budget may stay unused. Codes are hashed, and need no memory. Ours: each group has its own
    table (with one for all, sums of codes that differ in the order of their groups only would be alike), and rows
    of the groups, which the paper adds up, are side by side, which did better on validation data (ml-100k).
    """

    name = "binary_code_hash"
    suffix = "BinaryCodeHash"
    prefix = "binary_code_hash_"
    Options = Options
    about = About(
        "[T1[c1(i)], ..., Tg[cg(i)]], with groups c of the bits of a hash",
        "Yan et al., CIKM 2021",
        "g tables of 2^bits rows",
    )

    def cost(self, size: int) -> Cost:
        """Of a code of so many bits."""
        bits, operation = bits_of_groups(size, self.options.groups), self.options.operation
        widths = [widths_of_groups(width, len(bits), operation) for width in self.budget.widths]
        return Cost(sum(2**number * width for each in widths for number, width in zip(bits, each)))

    def _size(self) -> int:
        # A table need not have more rows than there are ids.
        most = self.options.groups * (self.num_entities - 1).bit_length()
        return self.budget.largest(self.cost, most)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> BinaryCodeHashEmbedding:
        groups, operation = self.options.groups, self.options.operation
        return BinaryCodeHashEmbedding(
            self.num_entities, embedding_dim, self.size, groups, operation, mean=mean, std=std
        )
