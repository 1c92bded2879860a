"""Clusters of a level are merged and split, judged by what views leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_cel.clustering import ClusterSettings

from .gradients import reference_sides

# Rounds of going to the nearest row and moving the rows, when a level has grown.
ROUNDS = 3
NOTHING = torch.empty(0)


@dataclass
class View:
    """One view: where it is, where it ought to be, and what the interactions that it leaves out say."""

    evidence: int
    at: Tensor
    target: Tensor
    left_out: int = 0
    pull: Tensor = NOTHING
    origin: Tensor = NOTHING

    def loss(self, point: Tensor) -> float:
        """Of the interactions that are left out, up to a constant."""
        step = point - self.origin
        return float(self.pull @ step + self.left_out * step @ step / 2)


class Targets:
    """What a level ought to add to views, and what clusters of it gain.

    Attributes:
        targets: what the level ought to add to each view.
    """

    def __init__(
        self,
        views: dict[tuple[int, int], View],
        points: Sequence[Tensor],
        choice: dict[tuple[int, int], int],
        folds: int,
    ) -> None:
        self._views, self._folds = views, folds
        self.targets = {view: views[view].target - views[view].at + points[choice[view]] for view in choice}
        self._rest = {view: views[view].target - self.targets[view] for view in choice}

    def mean(self, some: Sequence[tuple[int, int]]) -> Tensor | None:
        """Of some views, by interactions."""
        weights = [self._views[view].evidence for view in some]
        if not sum(weights):
            return None
        return torch.stack([w * self.targets[view] for w, view in zip(weights, some)]).sum(dim=0) / sum(weights)

    def gain(self, here: set[tuple[int, int]], far: set[tuple[int, int]]) -> float:
        """By how much the loss falls if ``far`` get a row of their own, out of the views that are ``here``."""
        entities = {entity for entity, fold in self.targets if fold == self._folds}
        gain = 0.0
        for entity, fold in sorted(here):
            if fold >= self._folds:
                continue
            without = [(e, fold) if (e, fold) in self.targets else (e, self._folds) for e in sorted(entities)]
            without = [view for view in without if view in here]
            shared = self.mean(without)
            own = self.mean([view for view in without if (view in far) == ((entity, fold) in far)])
            one, base = self._views[entity, fold], self._rest[entity, fold]
            nothing = torch.zeros_like(base)
            gain += one.loss(base + (nothing if shared is None else shared))
            gain -= one.loss(base + (nothing if own is None else own))
        return gain


def reference_merge(
    views: dict[tuple[int, int], View],
    points: list[Tensor],
    choice: dict[tuple[int, int], int],
    folds: int,
    least: float,
) -> tuple[list[Tensor], list[int], dict[tuple[int, int], int]]:
    """Merge pairs of clusters, nearest neighbours of each other, that lose more than ``least`` by being two.

    Returns:
        The points of those that are left; which they are; the choice of each view.
    """
    wanted, choice = Targets(views, points, choice, folds), dict(choice)
    points, kept = list(points), list(range(len(points)))

    def near(cluster: int) -> int:
        others = [k for k in filled if k != cluster]
        return min(others, key=lambda k: float((points[k] - points[cluster]).norm()))

    merged = True
    while merged:
        merged = False
        filled = sorted({cluster for (_, fold), cluster in choice.items() if fold == folds})
        pairs = [(k, near(k)) for k in filled if len(filled) > 1 and k < near(k) and near(near(k)) == k]
        for first, second in pairs:
            far = {view for view in choice if choice[view] == second}
            here = far | {view for view in choice if choice[view] == first}
            if wanted.gain(here, far) >= -least:
                continue
            merged = True
            kept.remove(second)
            choice |= dict.fromkeys(far, first)
            centre = wanted.mean([view for view in here if view[1] == folds])
            points[first] = points[first] if centre is None else centre
    return [points[k] for k in kept], kept, {view: kept.index(k) for view, k in choice.items()}


def reference_grow(
    views: dict[tuple[int, int], View],
    points: list[Tensor],
    choice: dict[tuple[int, int], int],
    folds: int,
    limit: int,
    settings: ClusterSettings,
) -> tuple[list[Tensor], list[int], dict[tuple[int, int], int]]:
    """Split clusters of a level until there are ``limit``, or no split pays.

    Returns:
        The points of all clusters; which of the old ones each new one comes from; the choice of each view.
    """
    first, parents = len(points), list[int]()
    wanted = Targets(views, points, choice, folds)
    wholes = [view for view in choice if view[1] == folds]
    limit = min(limit, first + (settings.split_count or limit))

    def settle() -> None:
        for cluster in range(len(points)):
            centre = wanted.mean([view for view in wholes if choice[view] == cluster])
            if centre is not None:
                points[cluster] = centre

    points = list(points)
    while len(points) < limit:
        proposals = []
        for cluster, point in enumerate(points):
            members = [view for view in wholes if choice[view] == cluster]
            here = [view for view in choice if choice[view] == cluster]
            if not members:
                continue
            pulls = torch.stack([wanted.targets[view] - point for view in members])
            beyond = reference_sides(pulls, [views[view].evidence for view in members], settings.split_threshold)
            far = {view for view in here if beyond((wanted.targets[view] - point).unsqueeze(0))[0]}
            gain = wanted.gain(set(here), far)
            both = 0 < len(far.intersection(members)) < len(members)
            if both and (gain > settings.split_gain or not settings.split_gain):
                proposals.append((-sum(views[view].evidence for view in members), cluster, far))
        proposals.sort(key=lambda proposal: proposal[:2])
        proposals = proposals[: limit - len(points)]
        if not proposals:
            break
        for _, cluster, far in proposals:
            for view in far:
                choice[view] = len(points)
            parents.append(cluster if cluster < first else parents[cluster - first])
            points.append(points[cluster])
        settle()
        for _ in range(1 if len(points) < limit else ROUNDS):
            for view in choice:
                distances = [float((wanted.targets[view] - point).square().sum()) for point in points]
                choice[view] = distances.index(min(distances))
            settle()
    return points, parents, choice
