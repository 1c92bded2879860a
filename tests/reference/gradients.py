"""What the interactions of one entity say, by running the model on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recbole_cel.embedding import ClusteredEmbedding
from recbole_cel.embedding.slots import record_slots
from recbole_cel.evidence import Objective

# Below this share of the mean squared gradient, a variance is rounding.
RELATIVE_VARIANCE = 1e-10


def recorded_outputs(
    objective: Objective, tables: Sequence[ClusteredEmbedding], interactions: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Outputs of the interactions, and the rows that each table returned for them, as leaves."""
    with record_slots(tables) as slots:
        outputs = objective.outputs(interactions)
    return outputs, [slots[table][0].rows for table in tables]


def own_gradient(
    objective: Objective, tables: Sequence[ClusteredEmbedding], interactions: Tensor
) -> tuple[Tensor, Tensor]:
    """One entity's gradient with respect to its own row, summed over its interactions, and its summed loss.

    Returns:
        The gradient, tables side by side, shape ``(D,)``, float64; the loss, shape ``()``, float64.
    """
    outputs, rows = recorded_outputs(objective, tables, interactions)
    losses = objective.loss(outputs, objective.targets(interactions))
    gradients = torch.autograd.grad(losses.sum(), rows)
    return torch.cat([g.double().sum(dim=0) for g in gradients]), losses.detach().double().sum()


def first_order(
    objective: Objective, tables: Sequence[ClusteredEmbedding], interactions: Tensor
) -> tuple[Tensor, Tensor]:
    """One entity's outputs, shape ``(B,)``, and their derivatives by its own row, shape ``(B, D)``."""
    outputs, rows = recorded_outputs(objective, tables, interactions)
    derivatives = torch.autograd.grad(outputs.sum(), rows)
    return outputs.detach(), torch.cat(derivatives, dim=1)


def shared_rows(tables: Sequence[ClusteredEmbedding]) -> Tensor:
    """The rows of all clusters, tables side by side."""
    return torch.cat([table.weight.detach() for table in tables], dim=1)


def reference_sides(pulls: Tensor, counts: Sequence[int], threshold: str) -> Callable[[Tensor], list[bool]]:
    """Cut members with these ``pulls`` ``(E, D)``; returned is what tells which of some pulls lie beyond."""
    mean = pulls.mean(dim=0)
    centred = pulls - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(pulls))
    if variances[-1] <= RELATIVE_VARIANCE * pulls.square().sum(dim=1).mean():
        return lambda others: [False] * len(others)
    direction = vectors[:, -1]
    if direction[direction.abs().argmax()] < 0:
        direction = -direction

    def project(pull: Tensor) -> float:
        return float((pull - mean) @ direction)

    projections = torch.tensor([project(pull) for pull in pulls], dtype=torch.float64)
    if threshold == "zero":
        cut = 0.0
    elif threshold == "median":
        cut = float(projections.sort().values[(len(pulls) - 1) // 2])
    else:
        reached = 0
        for position in projections.argsort().tolist():
            reached += counts[position]
            cut = float(projections[position])
            if 2 * reached >= sum(counts):
                break
    return lambda others: [project(pull) > cut for pull in others]
