"""TT-Rec: the table as a tensor train of three cores."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy

# Entries start at least so many deviations from zero, as in the paper: products of those near it pile up at zero.
LEAST = 2.0


class Shape(NamedTuple):
    """Of a train: ``n`` values of each digit of an id, ``d`` numbers of each factor of the width, two ranks."""

    n: tuple[int, int, int]
    d: tuple[int, int, int]
    ranks: tuple[int, int]

    @property
    def cores(self) -> list[tuple[int, int]]:
        """Rows and width of each core."""
        (n1, n2, n3), (d1, d2, d3), (left, right) = self
        return [(n1, d1 * left), (n2, left * d2 * right), (n3, right * d3)]


def train_shape(num_embeddings: int, width: int, size: int) -> Shape:
    """Digits and factors as even as can be; ranks whose sum is ``size + 1``, but not more than can be of use."""
    side = max(1, round(num_embeddings ** (1 / 3)))
    while side**3 < num_embeddings:
        side += 1
    n = (-(-num_embeddings // side**2), side, side)
    d = factors(width)
    return Shape(n, d, (min((size + 2) // 2, n[0] * d[0]), min((size + 1) // 2, n[2] * d[2])))


def factors(width: int) -> tuple[int, int, int]:
    """Three factors of ``width``, as even as can be; the middle core has both ranks, and so the smallest."""
    divisors = [number for number in range(1, width + 1) if width % number == 0]
    tries = [(a, b, width // (a * b)) for a in divisors for b in divisors if width % (a * b) == 0]
    middle, last, first = min((tuple(sorted(three)) for three in tries), key=lambda three: (three[2], -three[0]))
    return first, middle, last


class TensorTrainEmbedding(RowTable):
    """Row ``G1[i1] G2[i2] G3[i3]`` of id i, whose three digits are ``i1 i2 i3``.

    For factors ``d1 d2 d3`` of the width and ranks r and s, ``G1[i1]`` is a matrix of d1 x r, ``G2[i2]`` one of
    r x (d2 s), and ``G3[i3]`` one of s x d3. All start alike, such that the rows have the wanted moments; of rows
    that start at zero, the last core does, as otherwise no core would have a gradient.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, shape: Shape, *, mean: float, std: float) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.shape = shape
        left, right = shape.ranks
        if mean:
            centre = math.copysign((abs(mean) / (left * right)) ** (1 / 3), mean)
            moments = [(centre, abs(centre) * _ratio(left, right, std / abs(mean)))] * 3
        elif std:
            moments = [(0.0, (std**2 / (left * right)) ** (1 / 6))] * 3
        else:
            moments = [(0.0, 1.0), (0.0, 1 / math.sqrt(left)), (0.0, 0.0)]
        self.cores = nn.ParameterList(
            [
                nn.Parameter(centre + spread * _away_from_zero(rows, width))
                for (rows, width), (centre, spread) in zip(shape.cores, moments)
            ]
        )

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        (_, n2, n3), (d1, d2, d3), (left, right) = self.shape
        digits = (ids // (n2 * n3), ids // n3 % n2, ids % n3)
        first, middle, last = (F.embedding(digit, core) for digit, core in zip(digits, self.cores))
        product = first.view(-1, d1, left) @ middle.view(-1, left, d2 * right)
        product = product.reshape(-1, d1 * d2, right) @ last.view(-1, right, d3)
        return product.reshape(-1, self.embedding_dim)


def _away_from_zero(*shape: int) -> Tensor:
    """Normal numbers at least ``LEAST`` deviations from zero, brought to variance one."""
    tail = 0.5 * math.erfc(LEAST / math.sqrt(2))
    density = math.exp(-(LEAST**2) / 2) / math.sqrt(2 * math.pi)
    uniform = torch.rand(shape, dtype=torch.float64).clamp(min=1e-12)
    sizes = -torch.special.ndtri(tail * uniform)
    signs = torch.randint(0, 2, shape) * 2 - 1
    return (sizes * signs / math.sqrt(1 + LEAST * density / tail)).float()


def _ratio(left: int, right: int, wanted: float) -> float:
    """Deviation of each entry, as a share of its mean, for rows whose share is ``wanted``.

    With independent entries of share r and x = 1 + r^2, a sum over both ranks has
    ``1 + wanted^2 = (x^3 + (left + right - 2) x + (left - 1)(right - 1)) / (left right)``.
    """
    aim = left * right * (1 + wanted**2)
    low, high = 1.0, 1.0 + aim
    for _ in range(100):
        x = (low + high) / 2
        reached = x**3 + (left + right - 2) * x + (left - 1) * (right - 1)
        low, high = (x, high) if reached < aim else (low, x)
    return math.sqrt(low - 1)


@register_strategy
class TensorTrainStrategy(EmbeddingStrategy[TensorTrainEmbedding]):
    """Yin et al., TT-Rec: Tensor Train Compression for Deep Learning Recommendation Models, MLSys 2021.

    Ranks follow from the budget: ``size`` is their sum less one, alike for all tables of the field. A lookup takes
    two products of small matrices. Neighbouring ids have two of three slices in common.
    """

    name = "tensor_train"
    suffix = "TensorTrain"
    about = About("G1[i1] G2[i2] G3[i3], with digits i1 i2 i3 of i", "Yin et al., MLSys 2021", "three cores")

    def cost(self, size: int) -> Cost:
        """Of ranks whose sum is ``size + 1``."""
        shapes = [train_shape(self.num_entities, width, size) for width in self.budget.widths]
        return Cost(sum(rows * width for shape in shapes for rows, width in shape.cores))

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> TensorTrainEmbedding:
        shape = train_shape(self.num_entities, embedding_dim, self.size)
        return TensorTrainEmbedding(self.num_entities, embedding_dim, shape, mean=mean, std=std)
