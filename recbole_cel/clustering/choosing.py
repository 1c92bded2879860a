"""Choose a cluster in each level, for many views at once, and grow levels in passing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .growth import grow
from .level import Level
from .points import Metric, Points, nearest
from .posterior import Prior
from .settings import ClusterSettings
from .views import Views

# Rounds of choosing a cluster in each level, given those in the others.
SWEEPS = 4


class Choosing:
    """Puts views into clusters, level by level, and grows levels.

    Args:
        levels: all levels of the field's embedding; those that are grown get more clusters.
        prior: what rows are like.
        metric: what a distance costs.
        settings: rules.

    Attributes:
        splits: for each level that was grown, its number, and the ids of parents and children.
        resting: for each level, the choice of views and entities of which nothing is known, shape ``(1,)``.
    """

    def __init__(self, levels: Sequence[Level], prior: Prior, metric: Metric, settings: ClusterSettings) -> None:
        self._levels = levels
        self._prior = prior
        self._metric = metric
        self._settings = settings
        self.resting = [level.column[level.alive[:1]] for level in levels]
        self._points = [metric.points(level.rows) for level in levels]
        self.splits: list[tuple[int, Tensor, Tensor]] = []

    def choose(self, held: Sequence[Views], growing: Sequence[int], keep: Tensor | None) -> list[Tensor]:
        """Choose for the views of some entities.

        Args:
            held: the views, by chunk.
            growing: numbers of levels to grow first.
            keep: shape ``(N,)``, bool, entities that keep their choices; None is nobody.

        Returns:
            For each level, the choice of each view, shape ``(V,)``, as positions among the level's clusters.
        """
        unknown = self._metric.points(self._prior.mean.unsqueeze(0))
        points = Points.joined([Points.of(views, self._prior, self._metric) for views in held], unknown)
        known = torch.cat([views.known for views in held])
        stays = torch.zeros_like(known)
        if keep is not None:
            stays = torch.cat([keep[views.chunk.entities][views.owner] for views in held])
        present = [torch.cat([level.column[views.assigned(level)] for views in held]) for level in self._levels]
        choices = [torch.cat([columns[known], rest]) for columns, rest in zip(present, self.resting)]
        self._settle(points, choices, growing, torch.cat([stays[known], stays.new_zeros(1)]))
        self.resting = [choice[-1:] for choice in choices]
        return [torch.where(stays & ~known, old, new[points.place]) for old, new in zip(present, choices)]

    def _settle(self, views: Points, choices: list[Tensor], growing: Sequence[int], stays: Tensor) -> None:
        """Change the ``choices`` of points, for each level ``(P,)``, in place, except of those that stay."""
        # Rows may have changed since the views were made.
        views.at.copy_(torch.stack([points[c] for points, c in zip(self._points, choices)]).sum(dim=0))
        some = (~stays).nonzero().squeeze(1)
        for _ in range(SWEEPS):
            changed = torch.zeros_like(some, dtype=torch.bool)
            weight = views.evidence[some].clamp(min=1).to(views.at.dtype)
            ahead = self._settings.reassign_gain / weight * (views.evidence[some] > 0)
            for number, level in enumerate(self._levels):
                if number in growing:
                    self._grow(number, views, choices)
                    changed.fill_(True)
                points, present = self._points[number], choices[number][some]
                price = (
                    level.price.to(weight.dtype) / weight.unsqueeze(1) if self._settings.reassign_prior else None
                )
                targets = (views.target - views.at)[some] if len(some) < len(views.at) else views.target - views.at
                choice = nearest(targets + points[present], points, present, ahead, price)
                moved = choice != present
                changed |= moved
                moving, steps = some[moved], points[choice[moved]] - points[present[moved]]
                choices[number][moving] = choice[moved]
                views.at.index_add_(0, moving, steps)
            # A view that has the best choice in each level, given the others, keeps it.
            some, growing = some[changed], ()

    def _grow(self, number: int, views: Points, choices: list[Tensor]) -> None:
        level, present = self._levels[number], self._points[number][choices[number]]
        grown = grow(views, self._points[number], choices[number], level.assignment.max_clusters, self._settings)
        if not len(grown.parents):
            return
        self._points[number], choices[number] = grown.points, grown.choice
        parents, children = level.extend(self._metric.rows(grown.points), grown.parents)
        self.splits.append((number, parents, children))
        views.at.add_(grown.points[grown.choice] - present)
