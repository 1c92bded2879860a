"""Where the row of an entity should be, by its interactions and by what the rows of others are like.

Empirical Bayes: the rows that entities should have are taken to be normally distributed, around a mean and
with a covariance that are estimated from all entities. That is done by expectation maximisation (Dempster et al.
1977), accelerated (SQUAREM, Varadhan and Roland 2008), for in directions of which entities say little it takes
hundreds of steps. An entity's loss, to second order in its row, is the logarithm of a normal likelihood; so its
row is normally distributed in turn, with a mean that lies near the mean of all where the entity has hardly any
interactions, and where its own interactions want it if they are many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .gauss_newton import Quadratic
from .numerics import cholesky, symmetric_eigen

# Each of three steps of expectation maximisation. With few of them, variances stay near where they began if
# entities have a handful of interactions, and rows are then drawn to the mean several times too strongly.
CYCLES = 10
# The longest extrapolation, in steps.
MAX_EXTRAPOLATION = 20.0
# Of variances; far beyond what they can be, and within what numbers can be.
MIN_LOGARITHM, MAX_LOGARITHM = -30.0, 30.0
# Standard deviation of the rows to begin with; where the entities say nothing, it stays.
FIRST_DEVIATION = 0.3
# Keeps the covariance from collapsing, as variances.
FLOOR = 1e-6
# Of wide rows, the directions in which the prior is fitted: those by which losses bend most. A step of expectation
# maximisation takes the third power of their number, and in the others entities say next to nothing.
MAX_DIRECTIONS = 32
# Numbers in the curvatures of the entities that tell the prior, and the fewest entities.
MAX_NUMBERS = 1 << 17
MIN_ENTITIES = 256


class Prior(NamedTuple):
    """How the rows that entities should have are distributed, times the dispersion of the loss.

    Attributes:
        mean: shape ``(D,)``.
        precision: shape ``(D, D)``, inverse of the covariance, in units of the loss.
    """

    mean: Tensor
    precision: Tensor


def num_entities(width: int) -> int:
    """How many entities are enough to tell the prior of rows of this width."""
    return max(MIN_ENTITIES, MAX_NUMBERS // width**2)


def fit_prior(losses: Quadratic, dispersion: float) -> Prior:
    """Fit the prior.

    Args:
        losses: of all interactions of each of some entities.
        dispersion: what the losses have to be divided by to be negative logarithms of likelihoods; one for the
            cross-entropy of a model that is calibrated, twice the variance of the errors for squared errors.
    """
    curvature, linear = losses.curvature.double() / dispersion, losses.linear.double() / dispersion
    axes = torch.eye(linear.shape[1], dtype=torch.float64, device=linear.device)
    if len(axes) > MAX_DIRECTIONS:
        axes = symmetric_eigen(curvature.mean(dim=0))[1][:, -MAX_DIRECTIONS:]
        curvature, linear = axes.T @ curvature @ axes, linear @ axes
    width = linear.shape[1]
    eye = torch.eye(width, dtype=torch.float64, device=linear.device)

    def step(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
        precision = torch.linalg.inv(covariance)
        factors = cholesky(curvature + precision)
        weighted_mean = precision @ mean - linear
        rows = torch.cholesky_solve(weighted_mean.unsqueeze(2), factors).squeeze(2)
        # Of the losses, over what the prior takes rows to be, and up to a constant; twice the mean logarithm.
        likelihood = (weighted_mean * rows).sum(dim=1) - 2 * factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        likelihood = likelihood.mean() - mean @ precision @ mean - torch.logdet(covariance)
        mean = rows.mean(dim=0)
        centred = rows - mean
        covariance = centred.T @ centred / len(rows) + _mean_inverse(factors) + FLOOR * eye
        return mean, covariance, float(likelihood)

    mean, covariance = accelerate(step, linear.new_zeros(width), FIRST_DEVIATION**2 * eye)
    # What is fitted beyond what is there to begin with, which holds in all other directions.
    fitted = torch.linalg.inv(covariance) - eye / FIRST_DEVIATION**2
    precision = axes @ fitted @ axes.T + torch.eye(len(axes)).to(axes) / FIRST_DEVIATION**2
    return Prior((axes @ mean).to(losses.linear.dtype), (dispersion * precision).to(losses.linear.dtype))


def _mean_inverse(factors: Tensor) -> Tensor:
    """The mean of the inverses of matrices with these Cholesky ``factors`` ``(E, D, D)``, shape ``(D, D)``."""
    if factors.device.type == "cpu":
        return torch.cholesky_inverse(factors).mean(dim=0)
    return _mean_inverse_of_all(factors)


def _mean_inverse_of_all(factors: Tensor) -> Tensor:
    """The same in one go: ``cholesky_inverse`` has a GPU invert one after the other."""
    eye = torch.eye(factors.shape[1], dtype=factors.dtype, device=factors.device)
    halves = torch.linalg.solve_triangular(factors, eye, upper=False).flatten(0, 1)
    return halves.T @ halves / len(factors)


Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, float]]


def accelerate(step: Step, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat a ``step`` of expectation maximisation, and extrapolate after every second one.

    What is extrapolated is dropped where the likelihood is less than before: variances may be found to be nothing
    there, from which no further step would bring them back.

    Args:
        step: from mean and covariance to better ones; also says how likely the data are with the former.
        mean: shape ``(D,)``, to begin with.
        covariance: shape ``(D, D)``, to begin with. Its logarithm is extrapolated, so it stays one.
    """
    width = len(mean)
    for _ in range(CYCLES):
        *first, _ = step(mean, covariance)
        *second, likely = step(*first)
        start, one, two = (torch.cat([m, logarithm(c).flatten()]) for m, c in ((mean, covariance), first, second))
        change = one - start
        difference = two - one - change
        far = float(change.norm() / difference.norm().clamp(min=torch.finfo(difference.dtype).tiny))
        far = min(max(far, 1.0), MAX_EXTRAPOLATION)
        ahead = start + 2 * far * change + far**2 * difference
        *third, then = step(ahead[:width], exponential(ahead[width:].view(width, width)))
        mean, covariance = third if then >= likely else second
    return mean, covariance


def logarithm(covariance: Tensor) -> Tensor:
    """Logarithm of a positive definite matrix."""
    variances, directions = symmetric_eigen(covariance)
    logarithms = variances.clamp(min=math.exp(MIN_LOGARITHM)).log()
    return (directions * logarithms) @ directions.T


def exponential(logarithms: Tensor) -> Tensor:
    """The positive definite matrix that has this logarithm."""
    values, directions = symmetric_eigen((logarithms + logarithms.T) / 2)
    return (directions * values.clamp(MIN_LOGARITHM, MAX_LOGARITHM).exp()) @ directions.T
