"""A space of points in which half the squared distance is the loss of an interaction, on average."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .numerics import cholesky, symmetric_eigen
from .prior import Prior

# Of the mean curvature in all directions, what every direction has at least.
MIN_CURVATURE = 1e-4
# Of the mean square of a gradient's number, what every direction has at least.
MIN_SHARE = 1e-8
# So that its root can be divided by.
NO_CURVATURE = 1e-30
# Of the prior in every direction, in interactions.
MIN_PRECISION = 1e-4


class Whitening(NamedTuple):
    """Where rows are as points, and what the prior says of these.

    The mean curvature of the loss of an interaction is one in every direction, and the prior knows of no
    correlations between directions.

    Attributes:
        basis: shape ``(D, D)``; rows ``x`` are at ``x @ basis``.
        inverse: shape ``(D, D)``, of that.
        mean: shape ``(D,)``, where the prior's mean is.
        precision: shape ``(D,)``, the prior's in each direction; an interaction's is one.
    """

    basis: Tensor
    inverse: Tensor
    mean: Tensor
    precision: Tensor

    @classmethod
    def of(cls, curvature: Tensor, prior: Prior, squared_gradient: float = 0.0) -> Whitening:
        """From the mean second derivative ``(D, D)`` of the loss of an interaction.

        Where outputs are saturated there is none; then the mean square of a number of the gradient, which would be
        the same if the outputs were right, stands in for a small part of it.
        """
        eye = torch.eye(len(curvature), dtype=torch.float64, device=curvature.device)
        least = max(float(MIN_CURVATURE * curvature.diagonal().mean()), MIN_SHARE * squared_gradient, NO_CURVATURE)
        factor = cholesky(curvature.double() + least * eye)
        half = torch.linalg.solve_triangular(factor, prior.precision.double(), upper=False)
        whitened = torch.linalg.solve_triangular(factor, half.T, upper=False)
        precision, directions = symmetric_eigen((whitened + whitened.T) / 2)
        directions = orient(directions.T).T
        basis = factor @ directions
        inverse = torch.linalg.solve_triangular(factor.T, directions, upper=True).T
        mean = prior.mean.double() @ basis
        # Rounding may leave less than nothing, and a prior that says nothing has its mean anywhere.
        least_precision = precision.clamp(min=MIN_PRECISION)
        mean, precision = mean * (precision.clamp(min=0) / least_precision), least_precision
        return cls(*(part.to(curvature.dtype) for part in (basis, inverse, mean, precision)))

    def whiten(self, rows: Tensor) -> Tensor:
        """Where rows ``(..., D)`` are, in the same shape."""
        return rows @ self.basis

    def unwhiten(self, points: Tensor) -> Tensor:
        """Rows of points ``(..., D)``."""
        return points @ self.inverse

    def whiten_gradients(self, gradients: Tensor) -> Tensor:
        """Gradients by points, of gradients by rows ``(..., D)``."""
        return gradients @ self.inverse.T

    def unwhiten_gradients(self, gradients: Tensor) -> Tensor:
        """Gradients by rows, of gradients by points ``(..., D)``."""
        return gradients @ self.basis.T


def orient(directions: Tensor) -> Tensor:
    """Flip vectors ``(G, D)``, for ``v`` and ``-v`` are one principal component: the largest is positive."""
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return torch.where(largest < 0, -directions, directions)
