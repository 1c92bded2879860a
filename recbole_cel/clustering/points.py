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
    """Views of some entities. All those of which nothing is known share one point, the last.

    Attributes:
        at: shape ``(P, D)``, where each point is.
        target: shape ``(P, D)``, where it ought to be.
        evidence: shape ``(P,)``, its number of interactions.
        place: shape ``(V,)``, point of each view.
        whole: shape ``(E,)``, point of each entity's view with all.
        cell: shape ``(C,)``, point of the view without each cell.
        cell_whole: shape ``(C,)``, point of the view with all of each cell's entity.
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
    place: Tensor
    whole: Tensor
    cell: Tensor
    cell_whole: Tensor
    fold: Tensor
    size: Tensor
    pull: Tensor
    origin: Tensor
    loss: Tensor
    gradient_norm: Tensor

    @classmethod
    def of(cls, views: Views, prior: Prior, metric: Metric) -> Points:
        """Views of a chunk.

        Without the shared point, which :meth:`joined` gives; the place of its views is -1.
        """
        cells, known = len(views.chunk.cell_owner), views.known
        quadratic = views.losses()
        target = prior.expect(Quadratic(quadratic.linear[known], quadratic.curvature[known]))
        place = torch.where(known, known.cumsum(0) - 1, -1)
        at = metric.points(views.rows)
        return cls(
            at[known],
            metric.points(target),
            views.evidence[known],
            place,
            place[cells:],
            place[:cells],
            place[cells:][views.chunk.cell_owner],
            views.chunk.cell_fold,
            views.chunk.cell_sizes(),
            metric.pulls(views.left_out_gradients),
            at[:cells],
            views.chunk.sum_by_entity(views.training_losses()),
            views.gradients[cells:].norm(dim=1),
        )

    @classmethod
    def joined(cls, parts: Sequence[Points], unknown: Tensor) -> Points:
        """All views of several chunks; those of which nothing is known ought to be at ``unknown`` ``(1, D)``."""
        last = sum(len(part.at) for part in parts)
        before = 0
        moved = []
        for part in parts:
            places = (part.place, part.whole, part.cell, part.cell_whole)
            place, whole, cell, cell_whole = (torch.where(p < 0, last, p + before) for p in places)
            moved.append(part._replace(place=place, whole=whole, cell=cell, cell_whole=cell_whole))
            before += len(part.at)
        known = cls(*(torch.cat(values) for values in zip(*moved)))
        return known._replace(
            at=torch.cat([known.at, unknown]),
            target=torch.cat([known.target, unknown]),
            evidence=torch.cat([known.evidence, known.evidence.new_zeros(1)]),
        )


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
