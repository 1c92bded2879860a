"""Views as points in a space where half the squared distance is the loss of an interaction, on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .posterior import Prior
from .quadratic import Quadratic
from .views import Views

# Of the mean curvature in all directions, what every direction has at least.
MIN_CURVATURE = 1e-4


class Metric(NamedTuple):
    """Mean curvature of the loss of an interaction: rows ``x`` are mapped to ``x @ factor``.

    Attributes:
        factor: shape ``(D, D)``, lower triangular; times its transpose it is the curvature.
    """

    factor: Tensor

    @classmethod
    def of(cls, curvature: Tensor) -> Metric:
        """From the mean second derivative ``(D, D)``."""
        width = len(curvature)
        least = MIN_CURVATURE * curvature.diagonal().mean() + torch.finfo(curvature.dtype).tiny
        eye = torch.eye(width, dtype=torch.float64, device=curvature.device)
        return cls(torch.linalg.cholesky(curvature.double() + least.double() * eye).to(curvature.dtype))

    def points(self, rows: Tensor) -> Tensor:
        """Where rows ``(G, D)`` are, in the same shape."""
        return rows @ self.factor

    def rows(self, points: Tensor) -> Tensor:
        """Rows of points ``(G, D)``."""
        return torch.linalg.solve_triangular(self.factor, points, upper=False, left=False)

    def pulls(self, gradients: Tensor) -> Tensor:
        """Gradients by points, of gradients by rows ``(G, D)``."""
        return torch.linalg.solve_triangular(self.factor, gradients.T, upper=False).T


class Points(NamedTuple):
    """Views of some entities.

    Attributes:
        at: shape ``(V, D)``, where each view is.
        target: shape ``(V, D)``, where it ought to be.
        evidence: shape ``(V,)``, its number of interactions.
        entity: shape ``(V,)``, position of its entity among the E entities.
        whole: shape ``(E,)``, position of each entity's view with all.
        cell: shape ``(C,)``, position of the view without each cell.
        fold: shape ``(C,)``, fold of each cell.
        size: shape ``(C,)``, interactions of each cell.
        pull: shape ``(C, D)``, gradient of each cell's loss where its view was at first.
        origin: shape ``(C, D)``, where that was.
        loss: shape ``(E,)``, summed training loss of each entity.
        gradient_norm: shape ``(E,)``, norm of each entity's gradient by its own row.
    """

    at: Tensor
    target: Tensor
    evidence: Tensor
    entity: Tensor
    whole: Tensor
    cell: Tensor
    fold: Tensor
    size: Tensor
    pull: Tensor
    origin: Tensor
    loss: Tensor
    gradient_norm: Tensor

    @classmethod
    def of(cls, views: Views, losses: Tensor, prior: Prior, metric: Metric) -> Points:
        """The views of a chunk, whose interactions have these training ``losses`` ``(B,)``."""
        cells = len(views.chunk.cell_owner)
        at = metric.points(views.rows)
        known = views.evidence > 0
        target = prior.mean.repeat(len(known), 1)
        of_views = views.losses()
        target[known] = prior.expect(Quadratic(of_views.linear[known], of_views.curvature[known]))
        everyone = torch.arange(len(views.owner), device=at.device)
        return cls(
            at,
            metric.points(target),
            views.evidence,
            views.owner,
            everyone[cells:],
            everyone[:cells],
            views.chunk.cell_fold,
            views.chunk.cell_sizes(),
            metric.pulls(views.left_out_gradients),
            at[:cells].clone(),
            views.chunk.sum_by_entity(losses),
            views.gradients[cells:].norm(dim=1),
        )

    @classmethod
    def without_interactions(cls, target: Tensor) -> Points:
        """Entities of which nothing is known, with one view each, which ought to be at ``target`` ``(E, D)``."""
        everyone = torch.arange(len(target), device=target.device)
        none, zeros = everyone[:0], torch.zeros_like(everyone)
        nothing = target[:0], target[:0], zeros.to(target.dtype), zeros.to(target.dtype)
        return cls(target.clone(), target, zeros, everyone, everyone, none, none, none, *nothing)

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Points:
        """All views of several chunks."""
        views, entities = 0, 0
        moved = []
        for part in parts:
            moved.append(
                part._replace(entity=part.entity + entities, whole=part.whole + views, cell=part.cell + views)
            )
            views, entities = views + len(part.at), entities + len(part.whole)
        return cls(*(torch.cat(values) for values in zip(*moved)))


def nearest(
    targets: Tensor, points: Tensor, current: Tensor, ahead: Tensor, price: Tensor | None = None
) -> Tensor:
    """Which of ``points`` ``(K, D)`` is nearest to each of ``targets`` ``(V, D)``, shape ``(V,)``.

    Args:
        targets: see there.
        points: see there.
        current: shape ``(V,)``, the present choice.
        ahead: shape ``(V,)``, by how much half the squared distance has to be less than with that.
        price: shape ``(V, K)`` or None, what is added to half the squared distances.
    """
    distances = torch.addmm(points.square().sum(dim=1) / 2, targets, points.T, alpha=-1)
    if price is not None:
        distances += price
    return distances.scatter_add_(1, current.unsqueeze(1), -ahead.unsqueeze(1)).argmin(dim=1)
