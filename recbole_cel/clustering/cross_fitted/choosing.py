"""Choose a cluster in each level, for many views at once, and merge and split clusters in passing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...evidence.codebook import Codebook, sum_of
from ...evidence.out_of_fold import Views
from ...evidence.whitening import Whitening
from ..settings import ClusterSettings
from .growth import grow
from .merging import merge
from .points import Cells, Points, nearest
from .search import SLIGHT, Chance

# Rounds of choosing a cluster in each level, given those in the others.
SWEEPS = 4


class Choosing:
    """Puts views into clusters, level by level, and grows levels.

    Args:
        levels: all levels of the field's embedding; those that are grown get more clusters.
        whitening: what a distance costs, and what rows are like.
        settings: rules.
        merging: merge clusters of levels that grow, if these do not pay.
        chance: what codes are changed by where better ones are searched for.

    Attributes:
        points: of each level's clusters, shape ``(K, D)``.
        splits: for each level that was grown, its number, and the ids of parents and children.
        resting: for each level, the choice of views and entities of which nothing is known, shape ``(1,)``.
    """

    def __init__(
        self,
        levels: Sequence[Codebook],
        whitening: Whitening,
        settings: ClusterSettings,
        merging: bool,
        chance: Chance,
    ) -> None:
        self.levels = levels
        self.whitening = whitening
        self._settings = settings
        self._chance = chance
        self._merging = merging and settings.split_gain > 0
        self.resting = [level.column[level.alive[:1]] for level in levels]
        self.points = [whitening.whiten(level.rows) for level in levels]
        self._gone = [torch.zeros(len(level.rows), dtype=torch.bool, device=level.rows.device) for level in levels]
        self.splits: list[tuple[int, Tensor, Tensor]] = []
        self._chosen = False

    def choose(
        self, held: Sequence[Views], growing: Sequence[int], keep: Tensor | None, settle: bool = False
    ) -> list[Tensor]:
        """Choose for the views of some entities.

        Args:
            held: the views, by chunk.
            growing: numbers of levels to grow first.
            keep: shape ``(N,)``, bool, entities that keep their choices; None is nobody.
            settle: choose once among the clusters there are before levels grow.

        Returns:
            For each level, the choice of each view, shape ``(E, F + 1)``, as positions among the level's clusters.
        """
        known = torch.cat([views.exists & (views.evidence > 0) for views in held])
        points = Points.of(held, known, self.whitening.mean)
        cells = Cells.of(held, points.place) if growing else None
        stays = torch.zeros_like(known)
        if keep is not None:
            stays |= torch.cat([keep[views.chunk.entities] for views in held]).unsqueeze(1)
        present = [torch.cat(of_level) for of_level in zip(*(views.choice for views in held))]
        choices = [torch.cat([columns[known], rest]) for columns, rest in zip(present, self.resting)]
        # Where those rest of whom nothing is known does not depend on how many portions there are.
        moving = torch.cat([~stays[known], known.new_full((1,), not self._chosen)])
        self._chosen = True
        some = moving.nonzero().squeeze(1)
        if cells is not None and settle:
            self._settle(points, None, choices, (), some, sweeps=1)
        start = [choice.clone() for choice in choices]
        self._settle(points, cells, choices, growing, some)
        self._search(points, choices, some)
        if not self.splits and not any(bool(gone.any()) for gone in self._gone):
            self._calm(points, start, choices)
        self.resting = [choice[-1:] for choice in choices]
        return [torch.where(stays & ~known, old, new[points.place]) for old, new in zip(present, choices)]

    def _calm(self, views: Points, start: Sequence[Tensor], choices: Sequence[Tensor]) -> None:
        """Let points that gain too little keep what they had at the ``start`` in all levels."""
        gain = self._losses(views, start) - self._losses(views, choices)
        stay = (gain <= self._settings.reassign_gain) & (views.evidence > 0)
        for choice, old in zip(choices, start):
            choice[stay] = old[stay]

    def _losses(self, views: Points, choices: Sequence[Tensor]) -> Tensor:
        """Losses ``(P,)`` of points under ``choices``, with what these cost."""
        found = views.evidence / 2 * (views.target - sum_of(self.points, choices)).square().sum(dim=1)
        if self._settings.reassign_entropy:
            for level, choice in zip(self.levels, choices):
                found += level.price[choice]
        return found

    def _search(self, views: Points, choices: list[Tensor], some: Tensor) -> None:
        """Search for better ``choices`` of ``some`` points, in place."""
        clusters = [(~gone).nonzero().squeeze(1) for gone in self._gone]
        some = some[views.evidence[some] > 0]
        # A single level has been chosen at its best.
        if sum(len(of_level) > 1 for of_level in clusters) < 2 or not len(some):
            return
        losses = self._losses(views, choices)
        for number in range(self._chance.rounds):
            trial = [choice.clone() for choice in choices]
            changed = self._chance.changed([choice[some] for choice in choices], views.key[some], clusters, number)
            for choice, of_some in zip(trial, changed):
                choice[some] = of_some
            self._settle(views, None, trial, (), some)
            tried = self._losses(views, trial)
            better = tried < (1 - SLIGHT) * losses
            losses = torch.where(better, tried, losses)
            for choice, other in zip(choices, trial):
                choice[better] = other[better]

    def _settle(
        self,
        views: Points,
        cells: Cells | None,
        choices: list[Tensor],
        growing: Sequence[int],
        some: Tensor,
        sweeps: int = SWEEPS,
    ) -> None:
        """Change the ``choices`` of points, for each level ``(P,)``, in place, for ``some`` points."""
        rest = views.target - sum_of(self.points, choices)
        entropy = self._settings.reassign_entropy
        for _ in range(sweeps):
            changed = torch.zeros_like(some, dtype=torch.bool)
            all_of_them = len(some) == len(rest)
            weight = views.evidence[some].clamp(min=1).to(rest.dtype)
            for number, level in enumerate(self.levels):
                if cells is not None and number in growing:
                    if self._merging:
                        self._merge(number, views, cells, rest, choices)
                    self._grow(number, views, cells, rest, choices)
                    changed.fill_(True)
                points = self.points[number]
                if len(points) == 1:
                    continue
                present = choices[number] if all_of_them else choices[number].index_select(0, some)
                here = rest if all_of_them else rest.index_select(0, some)
                price = level.price.to(weight.dtype) if entropy else None
                if bool(self._gone[number].any()):
                    price = torch.zeros_like(points[:, 0]) if price is None else price
                    price = price.masked_fill(self._gone[number], torch.inf)
                choice = nearest(here, points, present, price, weight)
                moved = (choice != present).nonzero().squeeze(1)
                changed[moved] = True
                moving, new, old = some[moved], choice[moved], present[moved]
                rest.index_add_(0, moving, points.index_select(0, old) - points.index_select(0, new))
                choices[number][moving] = new
            # A view that has the best choice in each level, given the others, keeps it.
            some, growing = some[changed], ()

    def _merge(self, number: int, views: Points, cells: Cells, rest: Tensor, choices: list[Tensor]) -> None:
        before = self.points[number][choices[number]]
        points, choice, gone = merge(
            views, cells, rest, self.points[number], choices[number], self._settings.split_gain
        )
        if not bool(gone.any()):
            return
        rest.add_(before - points[choice])
        self.points[number], choices[number], self._gone[number] = points, choice, gone
        self.levels[number].extend(self.whitening.unwhiten(points), choice[:0])

    def _grow(self, number: int, views: Points, cells: Cells, rest: Tensor, choices: list[Tensor]) -> None:
        level, points, gone = self.levels[number], self.points[number], self._gone[number]
        choice = choices[number]
        # Clusters that are gone keep their ids until all views have left them.
        stay = (~gone).nonzero().squeeze(1)
        position = (~gone).cumsum(0) - 1
        limit = level.assignment.max_clusters - int(gone.sum())
        grown = grow(views, cells, rest, points[stay], position[choice], limit, self._settings)
        new = len(grown.parents)
        if not new:
            return
        places = torch.cat([stay, torch.arange(new, device=stay.device) + len(points)])
        self.points[number] = torch.cat([points, grown.points[len(stay) :]])
        self.points[number][stay] = grown.points[: len(stay)]
        choices[number] = places[grown.choice]
        self._gone[number] = torch.cat([gone, gone.new_zeros(new)])
        parents, children = level.extend(self.whitening.unwhiten(self.points[number]), stay[grown.parents])
        self.splits.append((number, parents, children))
        rest.add_(points[choice] - grown.points[grown.choice])
