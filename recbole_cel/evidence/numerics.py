"""Factorisations that survive ill-scaled numbers, or say that they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Of a mean curvature, more than what rounding takes from a precision; then ever more.
ROUNDING = 1e-5


class NumericalError(ValueError):
    """What an event looks at cannot be computed with; its clusters had better stay as they are."""


@contextmanager
def numerical() -> Iterator[list[str]]:
    """Catches what ill-scaled numbers raise within the block; gives the reasons, one at most."""
    reasons = list[str]()
    try:
        yield reasons
    except NumericalError as error:
        reasons.append(str(error))
    except torch.linalg.LinAlgError:
        reasons.append("a factorisation failed")


def check_finite(values: Tensor, what: str) -> None:
    """Check that training has not diverged.

    Raises:
        NumericalError: if some of ``values``, which are ``what``, are not finite.
    """
    if not bool(values.isfinite().all()):
        raise NumericalError(f"{what} are not finite")


def symmetric_eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(..., D)``, in ascending order, and eigenvectors ``(..., D, D)``, of symmetric matrices.

    Raises:
        NumericalError: if a number is not finite, or the algorithm does not converge.
    """
    scale = _power_of_two(matrices)
    try:
        values, vectors = torch.linalg.eigh(matrices / scale)
    except torch.linalg.LinAlgError:
        raise NumericalError("eigenvalues did not converge") from None
    return values * scale.squeeze(-1), vectors


def ordered_cumsum(values: Tensor) -> Tensor:
    """Cumulative sums of ``values`` ``(n,)``, added up in one order: a GPU would add them in any."""
    return values.cpu().cumsum(0).to(values.device)


def cholesky(precisions: Tensor) -> Tensor:
    """Cholesky factors ``(..., D, D)`` of symmetric matrices in the same shape.

    Where rounding has left a matrix of lower rank, as where outputs are saturated, it is made up for: by ever
    more, until there are factors.

    Raises:
        NumericalError: if a number is not finite.
    """
    found, failed = torch.linalg.cholesky_ex(precisions)
    if not bool(failed.any()):
        return found
    check_finite(precisions, "curvatures")
    diagonal = precisions.diagonal(dim1=-2, dim2=-1).abs()
    eye = torch.eye(precisions.shape[-1], dtype=precisions.dtype, device=precisions.device)
    share = ROUNDING
    while bool(failed.any()):
        missing = (share * diagonal.mean(dim=-1) + torch.finfo(precisions.dtype).tiny) * (failed > 0)
        precisions = precisions + missing[..., None, None] * eye
        found, failed = torch.linalg.cholesky_ex(precisions)
        share *= 10
    return found


def _power_of_two(matrices: Tensor) -> Tensor:
    """The power of two below the largest number of each matrix, to divide by without rounding: ``(..., 1, 1)``."""
    check_finite(matrices, "curvatures")
    largest = matrices.abs().amax(dim=(-2, -1), keepdim=True) if matrices.numel() else matrices.new_ones(1, 1)
    return torch.exp2(largest.clamp(min=torch.finfo(matrices.dtype).tiny).log2().floor())
