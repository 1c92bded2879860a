"""A full table whose rows are served in few bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import torch
import torch.nn.functional as F
from torch import Tensor

from ...embedding import RowTable
from ...options import check_options, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..storage import Storage, parameter_bytes
from .parts import drawn

AUTO = "auto"
BITS = (16, 8, 4, 2)
DEFAULT_BITS = 8
SCALE_BYTES = 2
# Rows of one number share a scale with their neighbours: one of its own would take more than the number.
ROWS_OF_ONE = 16


@dataclass(frozen=True)
class Options:
    """Of rows in few bits.

    Raises:
        SettingError: if an option is out of its range.
    """

    bits: Union[int, str] = option(
        AUTO,
        "bits of each number in serving; auto is the most that a budget in bytes of serving allows, or else "
        f"{DEFAULT_BITS}",
        f"one of {', '.join(map(str, BITS))}, auto",
        lambda v: v == AUTO or (isinstance(v, int) and not isinstance(v, bool) and v in BITS),
    )

    def __post_init__(self) -> None:
        check_options(self)


def packed_bytes(num_embeddings: int, width: int, bits: int) -> tuple[int, int]:
    """Bytes of the numbers and of the scales of a table."""
    scales = 0 if bits == 16 else SCALE_BYTES * -(-num_embeddings // rows_of_scale(width))
    return -(-num_embeddings * width * bits // 8), scales


def rows_of_scale(width: int) -> int:
    """Rows that share a scale."""
    return ROWS_OF_ONE if width == 1 else 1


class QuantisedEmbedding(RowTable):
    """Row ``s(i) (q[i] - (2^b - 1) / 2)`` with whole numbers q of b bits; with 16 bits, float16 without a scale.

    Trained is a table of floats. Lookups give what the served form gives; gradients pass to the floats unchanged.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, bits: int, *, mean: float, std: float) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.bits = bits
        self.weight = drawn(num_embeddings, embedding_dim, mean=mean, std=std)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        floats = F.embedding(ids, self.weight)
        if self.bits == 16:
            served = _half(floats.detach()).to(floats.dtype)
        else:
            scales = self._scales(ids // rows_of_scale(self.embedding_dim)).to(floats.dtype).unsqueeze(1)
            served = self._values(self._whole(floats.detach(), scales), scales, self.bits)
        through: Tensor = _Through.apply(floats, served)
        return through

    def _scales(self, groups: Tensor) -> Tensor:
        """The distance of two values, float16 of shape ``(n,)``, for groups of rows that share it ``(n,)``."""
        together = rows_of_scale(self.embedding_dim)
        members = groups.unsqueeze(1) * together + torch.arange(together, device=groups.device)
        members = members.clamp(max=self.num_embeddings - 1)  # the last group may be smaller
        largest = F.embedding(members, self.weight.detach()).abs().flatten(1).amax(dim=1)
        return _half(largest / ((2**self.bits - 1) / 2))

    def _whole(self, floats: Tensor, scales: Tensor) -> Tensor:
        """The nearest values, as whole numbers from 0 up."""
        steps = torch.where(scales > 0, floats / scales, 0.0)
        return (steps + (2**self.bits - 1) / 2).round().clamp(0, 2**self.bits - 1)

    @staticmethod
    def _values(whole: Tensor, scales: Tensor, bits: int) -> Tensor:
        return (whole - (2**bits - 1) / 2) * scales


class _Through(torch.autograd.Function):
    """Served values forward, exactly; gradients to the floats."""

    @staticmethod
    def forward(ctx: object, floats: Tensor, served: Tensor) -> Tensor:
        return served

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _half(numbers: Tensor) -> Tensor:
    largest = torch.finfo(torch.float16).max
    return numbers.clamp(-largest, largest).half()


@register_strategy
class QuantisedStrategy(EmbeddingStrategy[QuantisedEmbedding]):
    """A full table in 16, 8, 4 or 2 bits, trained for them by straight-through gradients.

    A scale for each row is from Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019;
    straight-through gradients are from Bengio et al., 2013. Values lie evenly about zero, which is none of them:
    so two bits have four values. Rows of one number share a scale with their neighbours. Bytes of serving are
    those of whole numbers packed by bits, which is written out with the tests; training keeps floats and their
    moments, as many as a full table, so that a budget in parameters or in bytes of training must allow for that.
    One in rows says nothing: each id has its own.
    """

    name = "int8"
    suffix = "Int8"
    prefix = "int8_"
    Options = Options
    about = About(
        "s(i) q[i], in 16, 8, 4 or 2 bits",
        "Guan et al., 2019; Bengio et al., 2013",
        "packed rows, with a scale each",
        "the full table in floats",
    )

    def cost(self, size: int) -> Cost:
        """Of rows for ``size`` ids, with the present number of bits."""
        served = sum(sum(packed_bytes(size, width, self.bits)) for width in self.budget.widths)
        return Cost(size * self.budget.width, served=served)

    def _size(self) -> int:
        bits = self.options.bits
        by_bytes = self.budget.bytes is not None
        choices = (
            BITS if isinstance(bits, str) and by_bytes else (DEFAULT_BITS if isinstance(bits, str) else bits,)
        )
        for choice in choices:
            self.bits = choice
            cost = self.cost(self.num_entities)
            if self.budget.rows is not None or self.budget.allows(cost):
                return self.num_entities
        raise self.budget.too_small(cost)

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Packed rows and their scales in serving; the floats in training, in their place."""
        found = super().storage(optimiser)
        packed = [packed_bytes(self.num_entities, table.embedding_dim, self.bits) for table in self.tables]
        numbers, scales = (sum(part) for part in zip(*packed)) if packed else (0, 0)
        floats = parameter_bytes(self.tables)
        return found._replace(
            rows=found.rows - floats + numbers, scalars=scales, training_codes=floats - numbers - scales
        )

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> QuantisedEmbedding:
        return QuantisedEmbedding(self.num_entities, embedding_dim, self.bits, mean=mean, std=std)
