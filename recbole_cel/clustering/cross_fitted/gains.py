"""What splits gain, judged by interactions that had no say in them."""

from __future__ import annotations

import torch
from torch import Tensor

from .points import Cells, Points


class SplitGains:
    """By how much the summed loss would fall if clusters of a level were split.

    The rows of the sides, and the one row that they would share, come from all but the fold that judges, and so is
    the side of each view that this fold is trained with.

    Args:
        views: of some entities.
        cells: of the same entities.
        targets: shape ``(P, D)``, what the level shall add to the others.
    """

    def __init__(self, views: Points, cells: Cells, targets: Tensor) -> None:
        self._cells = cells
        self._folds = int(cells.fold.max()) + 1
        weight = views.evidence.to(targets.dtype).unsqueeze(1)
        values = torch.cat([weight * targets, weight], dim=1)
        self._sums, self._with, self._without = (
            values[points] for points in (cells.whole, cells.with_all, cells.without)
        )
        # The loss of a cell is quadratic in the row that the level gives, times the cell's size; up to a constant.
        base = (views.target - targets)[cells.without] - cells.origin
        size = cells.size.to(targets.dtype).unsqueeze(1)
        self._losses = torch.cat([cells.gradient + size * base, size], dim=1).double()

    def of(self, choice: Tensor, beyond: Tensor, clusters: int) -> Tensor:
        """Gain of each of K ``clusters``, shape ``(K,)``, float64.

        Args:
            choice: shape ``(P,)``, cluster of each point.
            beyond: shape ``(P,)``, bool, the side of each point.
            clusters: K.
        """
        cells, sides = self._cells, 2 * clusters
        side = 2 * choice + beyond
        # Sums over all views with all, where those of the entities in the fold make way for those without it.
        sums = self._sums.new_zeros(sides, self._sums.shape[1]).index_add_(0, side[cells.whole], self._sums)
        sums = sums.repeat(self._folds, 1)
        judged = cells.fold * sides + side[cells.without]
        sums.index_add_(0, cells.fold * sides + side[cells.with_all], self._with, alpha=-1)
        sums.index_add_(0, judged, self._without)
        sums_of_sides = sums.view(self._folds, clusters, 2, -1)
        losses = self._losses.new_zeros(sums.shape).index_add_(0, judged, self._losses).view_as(sums_of_sides)
        together = _loss(losses.sum(dim=2), _rows(sums_of_sides.sum(dim=2)))
        return (together - _loss(losses, _rows(sums_of_sides)).sum(dim=2)).sum(dim=0)


def _rows(sums_of_sides: Tensor) -> Tensor:
    return sums_of_sides[..., :-1] / sums_of_sides[..., -1:].clamp(min=1e-6)


def _loss(losses: Tensor, rows: Tensor) -> Tensor:
    """Summed losses ``(..., D + 1)``, as functions of a row, at ``rows`` ``(..., D)``."""
    return (losses[..., :-1] * rows).sum(dim=-1) + losses[..., -1] * rows.double().square().sum(dim=-1) / 2
