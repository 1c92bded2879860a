"""The losses of one entity to second order, and what the rows of all entities are like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from recbole_cel.embedding import ClusteredEmbedding
from recbole_cel.evidence import Objective

from .gradients import first_order, shared_rows

MIN_SPREAD = 0.01
# Of the prior: first standard deviation, least variance; cycles and longest extrapolation of SQUAREM.
FIRST_DEVIATION, FLOOR = 0.3, 1e-6
CYCLES, MAX_EXTRAPOLATION = 10, 20.0


def slopes_of(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """Derivative of each loss by its output."""
    leaf = outputs.detach().clone().requires_grad_()
    return torch.autograd.grad(objective.loss(leaf, targets).sum(), leaf)[0]


def curvatures_of(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """Second derivative of each loss by its output."""
    leaf = outputs.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective.loss(leaf, targets).sum(), leaf, create_graph=True)
    return torch.autograd.grad(slope.sum(), leaf)[0]


class Expansion:
    """The losses of one entity's interactions to second order in the entity's row.

    Args:
        objective: the training loss.
        levels: all levels of the field's embedding.
        entity_of: shape ``(n,)``, each interaction's entity.
        entity: the entity.

    Attributes:
        losses: shape ``(B,)``, of its interactions.
    """

    def __init__(
        self,
        objective: Objective,
        levels: Sequence[Sequence[ClusteredEmbedding]],
        entity_of: Tensor,
        entity: int,
    ) -> None:
        interactions = (entity_of == entity).nonzero().squeeze(1)
        self._levels, self._entity = levels, entity
        folds = levels[0][0].assignment.num_folds
        self._fold = objective.folds(folds)[interactions] if folds > 1 else torch.full_like(interactions, -1)
        targets = objective.targets(interactions)
        outputs, self._jacobian = first_order(objective, levels[0], interactions)
        self.losses = objective.loss(outputs, targets).double()
        self._objective, self._outputs, self._targets = objective, outputs, targets
        self._trained = torch.stack([self.row(int(view)) for view in self._fold])
        self._first_rows = {view: self.row(view) for view in range(-1, folds)}

    @cached_property
    def _bends(self) -> Tensor:
        """Second derivative of each loss by its output, a mean as far as the rows reach."""
        rows = [shared_rows(level)[level[0].assignment.occupied] for level in self._levels]
        centre_row = torch.stack([of_level.mean(dim=0) for of_level in rows]).sum(dim=0)
        bends = []
        for output, target, derivative, row in zip(self._outputs, self._targets, self._jacobian, self._trained):
            variance = sum(float((of_level @ derivative).var(unbiased=False)) for of_level in rows)
            reach = max(MIN_SPREAD, math.sqrt(variance))
            centre = output + derivative @ (centre_row - row)
            above, below = (slopes_of(self._objective, centre + step, target) for step in (reach, -reach))
            bends.append((above - below) / (2 * reach))
        return torch.stack(bends)

    def row(self, view: int) -> Tensor:
        """The row of one of the entity's views."""
        return self.row_of(self._levels, self._entity, view)

    @staticmethod
    def row_of(levels: Sequence[Sequence[ClusteredEmbedding]], entity: int, view: int) -> Tensor:
        """The row of one of an entity's views."""
        parts = []
        for tables in levels:
            cluster = tables[0].assignment.views(torch.tensor([entity]))[0, view]
            parts.append(shared_rows(tables)[cluster])
        return torch.stack(parts).sum(dim=0)

    def inside(self, view: int) -> Tensor:
        """Which interactions are in the view, bool, shape ``(B,)``."""
        return (self._fold != view) | (view == -1)

    def slopes(self, view: int) -> Tensor:
        """Derivative of each loss by its output, where the entity had the view's row at first, shape ``(B,)``."""
        outputs = self._outputs + ((self._first_rows[view] - self._trained) * self._jacobian).sum(dim=1)
        return slopes_of(self._objective, outputs, self._targets)

    def gradient(self, view: int) -> Tensor:
        """Gradient of the view's summed loss by its row."""
        slopes = self.slopes(view) * self.inside(view)
        return (slopes.unsqueeze(1) * self._jacobian).double().sum(dim=0)

    def curvature(self, view: int) -> Tensor:
        """Second derivative of the view's summed loss by its row, shape ``(D, D)``."""
        bends = self._bends * self.inside(view)
        return ((bends.unsqueeze(1) * self._jacobian).T @ self._jacobian).double()

    def left_out_gradient(self, view: int) -> Tensor:
        """Gradient of the summed loss of what the view leaves out, by its row."""
        slopes = self.slopes(view) * ~self.inside(view)
        return (slopes.unsqueeze(1) * self._jacobian).double().sum(dim=0)

    def dispersion(self) -> tuple[float, float]:
        """Sums of squared slopes and of curvatures of the losses by the outputs."""
        slopes = slopes_of(self._objective, self._outputs, self._targets)
        bends = curvatures_of(self._objective, self._outputs, self._targets)
        return float(slopes.square().sum()), float(bends.sum())


def reference_prior(
    gradients: Sequence[Tensor], curvatures: Sequence[Tensor], rows: Sequence[Tensor], dispersion: float
) -> tuple[Tensor, Tensor]:
    """Mean and precision of what the rows of entities ought to be, entity by entity."""
    width = len(rows[0])
    eye = torch.eye(width, dtype=torch.float64)

    def step(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
        expected, spread, likelihoods = [], [], []
        for gradient, curvature, row in zip(gradients, curvatures, rows):
            spread.append((curvature / dispersion + covariance.inverse()).inverse())
            pull = (curvature @ row - gradient) / dispersion + covariance.inverse() @ mean
            expected.append(spread[-1] @ pull)
            likelihood = pull @ expected[-1] + spread[-1].logdet() - mean @ covariance.inverse() @ mean
            likelihoods.append(float(likelihood - covariance.logdet()))
        mean = torch.stack(expected).mean(dim=0)
        outer = [torch.outer(row - mean, row - mean) for row in expected]
        covariance = torch.stack(outer).mean(dim=0) + torch.stack(spread).mean(dim=0) + FLOOR * eye
        return mean, covariance, sum(likelihoods) / len(likelihoods)

    mean, covariance = torch.zeros(width, dtype=torch.float64), FIRST_DEVIATION**2 * eye
    for _ in range(CYCLES):
        # One cycle of SQUAREM (Varadhan and Roland 2008), covariances by their logarithms.
        mean1, covariance1, _ = step(mean, covariance)
        mean2, covariance2, likely = step(mean1, covariance1)
        start, one, two = (
            torch.cat([m, matrix_function(c, torch.log).flatten()])
            for m, c in ((mean, covariance), (mean1, covariance1), (mean2, covariance2))
        )
        change, bend = one - start, two - 2 * one + start
        far = min(max(float(change.norm() / bend.norm()), 1.0), MAX_EXTRAPOLATION)
        ahead = start + 2 * far * change + far**2 * bend
        mean3, covariance3, then = step(
            ahead[:width], matrix_function(ahead[width:].view(width, width), torch.exp)
        )
        mean, covariance = (mean3, covariance3) if then >= likely else (mean2, covariance2)
    return mean, dispersion * covariance.inverse()


def matrix_function(matrix: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of the eigenvalues of a symmetric matrix."""
    values, directions = torch.linalg.eigh((matrix + matrix.T) / 2)
    return directions @ torch.diag(function(values)) @ directions.T
