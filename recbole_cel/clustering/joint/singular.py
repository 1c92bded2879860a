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
# Rows of a block that are multiplied at once.
CHUNK = 1 << 16


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
        self._order = rows.int().argsort(stable=True).int()
        self._columns = columns.int().index_select(0, self._order)
        self._starts = torch.zeros(size[0] + 1, dtype=torch.int32, device=rows.device)
        self._starts[1:] = torch.bincount(rows, minlength=size[0]).cumsum(0)

    def matrix(self, values: Tensor) -> SparseMatrix:
        return SparseMatrix(self._size, self._starts, self._columns, values.index_select(0, self._order))


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
    _orthonormalise(right)
    left, before = right, None
    for _ in range(MAX_ROUNDS):
        # Each block is given up before its successor is made: where ids are many, they take the most memory.
        left = right
        left = matrix @ right
        _orthonormalise(left)
        right = left
        right = transpose @ left
        factor = _orthonormalise(right)
        # The matrix within the blocks, whose singular values are those of the matrix.
        turn, values, turned = torch.linalg.svd(factor.T)
        if before is not None and bool(((values - before).abs() <= TOLERANCE * values[:1])[:number].all()):
            break
        before = values
    # The blocks are turned so that their columns are singular vectors.
    kept = values[:number] > RANK_TOLERANCE * values[:1]
    number = int(kept.sum())
    left, right = (side @ by[:, :number].to(side.dtype) for side, by in ((left, turn), (right, turned.T)))
    return SingularPairs(left, values[:number].to(left.dtype), right)


def _orthonormalise(block: Tensor) -> Tensor:
    """Make the columns of ``block`` ``(n, k)`` orthonormal, in place, or zero where there are fewer.

    Returned is the factor ``(k, k)``, float64, that they have to be multiplied by to give the block as it was. It
    comes from the products of columns with each other, twice, which makes up for rounding; a QR decomposition
    would hold three more blocks.
    """
    factor = torch.eye(block.shape[1], dtype=torch.float64, device=block.device)
    for _ in range(2):
        products = torch.zeros_like(factor)
        for part in block.split(CHUNK):
            products += part.double().T @ part.double()
        squares, directions = torch.linalg.eigh(products)
        some = squares > RANK_TOLERANCE**2 * squares[-1:]
        lengths = torch.where(some, squares, 0.0).sqrt()
        turn = directions * torch.where(some, 1 / lengths.clamp(min=torch.finfo(lengths.dtype).tiny), 0.0)
        for part in block.split(CHUNK):
            part.copy_(part @ turn.to(part.dtype))
        factor = lengths.unsqueeze(1) * directions.T @ factor
    return factor
