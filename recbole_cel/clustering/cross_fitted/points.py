"""The views of many entities side by side: what is known of each, and its target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...evidence.bounds import at_once
from ...evidence.out_of_fold import Views

# Distances between points and clusters that are held at once.
MAX_DISTANCES = 1 << 24


class Points(NamedTuple):
    """The targets of views. All those of which nothing is known share one point, the last.

    Attributes:
        target: shape ``(P, D)``, the target of each point.
        evidence: shape ``(P,)``, its number of interactions.
        place: shape ``(E, F + 1)``, point of each view of each entity.
        key: shape ``(P,)``, int64, what a point is known by, however many there are.
    """

    target: Tensor
    evidence: Tensor
    place: Tensor
    key: Tensor

    @classmethod
    def of(cls, held: Sequence[Views], known: Tensor, unknown: Tensor) -> Points:
        """Of several chunks.

        Args:
            held: the views, by chunk.
            known: shape ``(E, F + 1)``, bool, views of which something is known.
            unknown: shape ``(D,)``, the target of the others.
        """
        target = torch.cat([views.expected() for views in held])[known]
        evidence = torch.cat([views.evidence for views in held])
        exists = torch.cat([views.exists for views in held])
        number = known.flatten().cumsum(0).view_as(known) - 1
        place = torch.where(known, number, len(target))
        views = torch.arange(known.shape[1], device=known.device)
        keys = torch.cat([each.chunk.entities for each in held]).unsqueeze(1) * known.shape[1] + views
        return cls(
            torch.cat([target, unknown.unsqueeze(0)]),
            torch.cat([evidence[known], evidence.new_zeros(1)]),
            torch.where(exists, place, place[:, -1:]),
            torch.cat([keys[known], keys.new_full((1,), -1)]),
        )


class Cells(NamedTuple):
    """What the interactions that views leave out, and those of whole entities, say of splits.

    Attributes:
        whole: shape ``(E,)``, point of each entity's view with all.
        without: shape ``(C,)``, point of the view without each cell.
        with_all: shape ``(C,)``, point of the view with all of each cell's entity.
        fold: shape ``(C,)``, fold of each cell.
        size: shape ``(C,)``, interactions of each cell.
        gradient: shape ``(C, D)``, gradient of each cell's loss where the view without it was at first.
        origin: shape ``(C, D)``, where that was.
        loss: shape ``(E,)``, summed training loss of each entity.
        gradient_norm: shape ``(E,)``, norm of each entity's gradient by its own row.
    """

    whole: Tensor
    without: Tensor
    with_all: Tensor
    fold: Tensor
    size: Tensor
    gradient: Tensor
    origin: Tensor
    loss: Tensor
    gradient_norm: Tensor

    @classmethod
    def of(cls, held: Sequence[Views], place: Tensor) -> Cells:
        """Of several chunks, whose views have their points at ``place`` ``(E, F + 1)``."""
        size = torch.cat([views.size for views in held])
        some = size > 0
        return cls(
            place[:, -1],
            place[:, :-1][some],
            place[:, -1:].expand_as(some)[some],
            some.nonzero()[:, 1],
            size[some],
            torch.cat([views.left_out_gradients() for views in held])[some],
            torch.cat([views.at for views in held])[:, :-1][some],
            torch.cat([views.chunk.sum_by_entity(views.training_losses()) for views in held]),
            torch.cat([views.gradient_norms() for views in held]),
        )


def nearest(
    rest: Tensor, points: Tensor, present: Tensor, price: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Which of ``points`` ``(K, D)`` serves each view best in the place of its present one, shape ``(V,)``.

    Args:
        rest: shape ``(V, D)``, how far each view is from its target.
        points: see there.
        present: shape ``(V,)``, the present choice.
        price: shape ``(K,)`` or None, what is added to half the squared distances.
        weight: shape ``(V,)`` or None, what the price is divided by.
    """
    own = points.square().sum(dim=1) / 2
    found = []
    number = max(1, at_once(MAX_DISTANCES, rest.device) // len(points))
    for some in torch.arange(len(rest), device=rest.device).split(number):
        here = present[some]
        # Up to a constant of each view, half of |rest + points[present] - points[k]| ** 2.
        distances = torch.addmm(own, rest[some] + points.index_select(0, here), points.T, alpha=-1)
        if price is not None:
            distances += price if weight is None else price / weight[some].unsqueeze(1)
        found.append(distances.argmin(dim=1))
    return torch.cat(found) if found else present
