"""The leading singular pairs of a sparse matrix, by block power iteration."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Rounds of the iteration at most, and the relative change of the singular values that ends it.
MAX_ROUNDS = 8
TOLERANCE = 1e-3
# Columns besides those that are wanted, which let these settle sooner.
SPARE = 2
# Of the largest singular value, below which one is rounding.
RANK_TOLERANCE = 1e-5


class SparseMatrix(NamedTuple):
    """A sparse matrix, row after row, that dense ones can be multiplied by.

    Each row of a product is summed in one order, on any device, so that the same numbers give the same bits.

    Attributes:
        shape: numbers of rows and columns.
        starts: shape ``(rows + 1,)``, where each row begins, and the last ends.
        columns: shape ``(n,)``, column of each entry; entries at the same place are added.
        values: shape ``(n,)``.
    """

    shape: tuple[int, int]
    starts: Tensor
    columns: Tensor
    values: Tensor

    def __matmul__(self, block: Tensor) -> Tensor:
        """The product with ``block`` ``(columns, k)``, shape ``(rows, k)``."""
        return embedding_bag(
            self.columns,
            block.contiguous(),
            self.starts,
            mode="sum",
            per_sample_weights=self.values.to(block.dtype),
            include_last_offset=True,
        )


class Interactions:
    """A matrix of interactions, with a row for each entity of one field and a column for each of another.

    The places are sorted once, for both orders; values may be set again and again.

    Args:
        left: shape ``(n,)``, row of each entry; entries at the same place are added.
        right: shape ``(n,)``, column of each entry.
        size: numbers of rows and columns.
    """

    def __init__(self, left: Tensor, right: Tensor, size: tuple[int, int]) -> None:
        self.size = size
        self._by_row = _Sorted(left, right, size)
        self._by_column = _Sorted(right, left, (size[1], size[0]))

    def with_values(self, values: Tensor) -> tuple[SparseMatrix, SparseMatrix]:
        """The matrix with these values ``(n,)``, and its transpose."""
        return self._by_row.matrix(values), self._by_column.matrix(values)


class _Sorted:
    def __init__(self, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> None:
        self._size = size
        self._order = rows.int().argsort(stable=True)
        self._columns = columns.int()[self._order]
        self._starts = torch.zeros(size[0] + 1, dtype=torch.int32, device=rows.device)
        self._starts[1:] = torch.bincount(rows, minlength=size[0]).cumsum(0)

    def matrix(self, values: Tensor) -> SparseMatrix:
        return SparseMatrix(self._size, self._starts, self._columns, values[self._order])


class SingularPairs(NamedTuple):
    """Singular vectors of k singular values, the largest first.

    Attributes:
        left: shape ``(rows, k)``, orthonormal columns.
        values: shape ``(k,)``.
        right: shape ``(columns, k)``, orthonormal columns.
    """

    left: Tensor
    values: Tensor
    right: Tensor


def singular_pairs(
    matrix: SparseMatrix, transpose: SparseMatrix, number: int, generator: torch.Generator
) -> SingularPairs:
    """The leading ``number`` singular pairs, or as many as there are.

    Each round multiplies a block of columns by the matrix and its transpose, which costs two products of every
    entry with ``number + 2`` numbers; memory is that of a few blocks.

    Args:
        matrix: of shape ``(rows, columns)``.
        transpose: the same, transposed.
        number: how many are wanted.
        generator: draws the block to begin with, on the CPU.
    """
    width = min(number + SPARE, *matrix.shape)
    right = torch.randn(matrix.shape[1], width, generator=generator).to(matrix.values)
    right = _orthonormal(right)
    before = None
    for _ in range(MAX_ROUNDS):
        left = _orthonormal(matrix @ right)
        image = transpose @ left
        # Of the small factor of the image: its singular values are those of the matrix within the block.
        values = torch.linalg.eigvalsh((image.T @ image).double()).clamp(min=0).sqrt().flip(0)[:number]
        right = _orthonormal(image)
        if before is not None and bool(((values - before).abs() <= TOLERANCE * values[:1]).all()):
            break
        before = values
    # The block is turned so that its columns are singular vectors.
    turn, values, turned = torch.linalg.svd(left.T @ (matrix @ right))
    kept = values[:number] > RANK_TOLERANCE * values[:1]
    number = int(kept.sum())
    return SingularPairs(left @ turn[:, :number], values[:number], right @ turned.T[:, :number])


def _orthonormal(block: Tensor) -> Tensor:
    return torch.linalg.qr(block).Q
