"""What the training loss still asks of each output, once every entity has a bias.

Growth of one field sees main effects by itself. What is left of the outputs' gradients when all entities have had
a bias of their own is what only pairs of entities can explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...evidence.bounds import at_once
from ...evidence.grouping import sum_by_id
from ...evidence.numerics import check_finite
from ...evidence.objective import Objective, loss_derivatives

# Newton steps of the biases, field after field, at most; and the share of what is unexplained, below which a round
# has not explained enough for another.
ROUNDS = 3
SETTLED = 1e-4
# Of the variance of biases; where entities differ by less, they are taken to be alike.
MIN_VARIANCE = 1e-6
# Of the largest curvature of an interaction, the least: outputs that are saturated have none.
MIN_CURVATURE = 1e-6
# The least curvature at all, so that biases stay finite where all outputs are saturated.
NO_CURVATURE = 1e-12
# Interactions whose derivatives are taken at once.
CHUNK = 1 << 16


class Residuals(NamedTuple):
    """First and second derivative of each interaction's weighted loss with respect to its output.

    Attributes:
        residual: shape ``(n,)``, minus the first derivative: how much the output should rise.
        curvature: shape ``(n,)``, the second derivative, positive.
    """

    residual: Tensor
    curvature: Tensor


def residuals(
    objective: Objective,
    outputs: Tensor,
    interactions: Tensor,
    fields: Sequence[tuple[Tensor, int]],
    weight: Tensor,
) -> Residuals:
    """Residuals of all interactions beyond biases that some of them tell.

    The biases are fitted to the loss by Newton's method, and shrunken by a variance that is estimated from the
    entities themselves (empirical Bayes, by moments).

    Args:
        objective: the training loss.
        outputs: shape ``(n,)``, what the model says now.
        interactions: shape ``(n,)``, their numbers.
        fields: entity ids ``(n,)`` of each field, and the field's number of entities.
        weight: shape ``(n,)``, weight of each interaction in the biases; zero for those that shall have no say.
    """
    targets, weights = objective.targets(interactions), objective.weights(interactions)
    found = _derivatives(objective, outputs, targets, weights)
    outputs = outputs + (weight * found.residual).sum() / (weight * found.curvature).sum().clamp(min=MIN_CURVATURE)
    biases = [outputs.new_zeros(number) for _, number in fields]
    strengths: list[Tensor] = []
    for step in range(ROUNDS):
        explained = unexplained = 0.0
        for place, (ids, number) in enumerate(fields):
            found = _derivatives(objective, outputs, targets, weights)
            residual = sum_by_id(ids, weight * found.residual, number)
            curvature = sum_by_id(ids, weight * found.curvature, number)
            if not step:
                strengths.append(_shrinkage(residual, curvature, weight, found))
            change = (residual - strengths[place] * biases[place]) / (curvature + strengths[place])
            biases[place] += change
            outputs = outputs + change[ids]
            explained += float(((curvature + strengths[place]) * change.square()).sum())
            unexplained += float(_dispersion(weight, found) * weight.sum())
        if explained <= SETTLED * unexplained:
            break
    return _derivatives(objective, outputs, targets, weights)


def _derivatives(objective: Objective, outputs: Tensor, targets: Tensor, weights: Tensor) -> Residuals:
    residual, curvature = torch.empty_like(outputs), torch.empty_like(outputs)
    # In parts that fit into caches.
    size = at_once(CHUNK, outputs.device)
    for first in range(0, len(outputs), size):
        part = slice(first, first + size)
        residual[part], curvature[part] = loss_derivatives(objective, outputs[part], targets[part])
    curvature.clamp_(min=max(MIN_CURVATURE * float(curvature.max()), NO_CURVATURE))
    check_finite(residual, "residuals")
    return Residuals(residual.mul_(-weights), curvature.mul_(weights))


def _shrinkage(residual: Tensor, curvature: Tensor, weight: Tensor, found: Residuals) -> Tensor:
    """What is added to the curvature of each entity's loss: dispersion over variance of the biases, ``()``."""
    dispersion = _dispersion(weight, found)
    squares = curvature.square().sum().clamp(min=torch.finfo(curvature.dtype).tiny)
    variance = (residual.square() - dispersion * curvature).sum() / squares
    return dispersion / variance.clamp(min=MIN_VARIANCE)


def _dispersion(weight: Tensor, found: Residuals) -> Tensor:
    """Squared derivatives over curvatures of what counts; one where labels are as noisy as outputs say."""
    total = (weight * found.curvature).sum()
    return (weight * found.residual.square()).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)
