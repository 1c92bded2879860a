"""Reassignment with folds, and growth in passing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_cel.clustering import ClusterSettings
from recbole_cel.embedding import ClusteredEmbedding
from recbole_cel.evidence import Objective

from .gradients import shared_rows
from .growth import View, reference_grow, reference_merge
from .prior import Expansion, reference_prior

# Rounds of choosing a cluster in each level, given those in the others.
SWEEPS = 4
# Levels that are changed at random at a time.
CHANGES = 3
# Share of its loss by which a code has to be better to be kept.
SLIGHT = 1e-3
# Of the mean curvature, what every direction has at least.
MIN_CURVATURE = 1e-4


class Whitening:
    """Coordinates in which the mean curvature is one and the prior's precision diagonal."""

    def __init__(self, curvature: Tensor, precision: Tensor) -> None:
        eye = torch.eye(len(curvature), dtype=torch.float64)
        factor = torch.linalg.cholesky(curvature + MIN_CURVATURE * curvature.diagonal().mean() * eye)
        inverse = factor.inverse()
        _, directions = torch.linalg.eigh(inverse @ precision @ inverse.T)
        for column in directions.T:
            if column[column.abs().argmax()] < 0:
                column *= -1
        self._basis = factor @ directions

    def whiten(self, rows: Tensor) -> Tensor:
        return rows @ self._basis

    def unwhiten(self, points: Tensor) -> Tensor:
        return points @ self._basis.inverse()

    def whiten_gradients(self, gradients: Tensor) -> Tensor:
        return gradients @ self._basis.inverse().T


def looks_like_chance(*numbers: int) -> int:
    """A number that is mixed from others, as 64 bits have it."""
    bits, mask = 0, (1 << 64) - 1
    for number in numbers:
        bits = (bits + number + 1) * 0x2545F4914F6CDD1D & mask
        bits ^= bits >> 29 & 0x7FFFFFFFF
    return bits & mask >> 1


def reference_reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    entity_of: Tensor,
    settings: ClusterSettings,
    growing: Sequence[int] = (),
    merging: bool = False,
    seed: int = 0,
) -> None:
    """Choose the cluster of every view of every entity in place, and merge and split clusters of some levels.

    A view that leaves nothing out has the clusters of the view with everything.
    """
    folds = levels[0][0].assignment.num_folds
    expansions = {e: Expansion(objective, levels, entity_of, e) for e in entity_of.unique().tolist()}
    wholes = list(expansions.values())
    squares, bends = (sum(values) for values in zip(*(one.dispersion() for one in wholes)))
    curvatures = [one.curvature(-1) for one in wholes]
    mean, precision = reference_prior(
        [one.gradient(-1) for one in wholes],
        curvatures,
        [one.row(-1).double() for one in wholes],
        squares / bends,
    )
    whitening = Whitening(torch.stack(curvatures).sum(dim=0) / len(entity_of), precision)

    views: dict[tuple[int, int], View] = {}
    for entity, one in expansions.items():
        for fold in range(folds + 1):
            left_out = fold if fold < folds else -1
            inside = one.inside(left_out)
            if left_out >= 0 and inside.all():
                continue
            row, curvature = one.row(left_out).double(), one.curvature(left_out)
            pull = curvature @ row - one.gradient(left_out) + precision @ mean
            target = torch.linalg.solve(curvature + precision, pull)
            views[entity, fold] = View(int(inside.sum()), whitening.whiten(row), whitening.whiten(target))
            if left_out >= 0:
                views[entity, fold].left_out = int((~inside).sum())
                views[entity, fold].pull = whitening.whiten_gradients(one.left_out_gradient(left_out))
                views[entity, fold].origin = whitening.whiten(row)
    assignments = [tables[0].assignment for tables in levels]

    # All entities without interactions are as this one, which has no view with all.
    idle = (assignments[0].num_entities, folds + 1)
    views[idle] = View(0, mean, whitening.whiten(mean))

    alive = [[k for k in range(a.max_clusters) if a.occupied[k]] for a in assignments]
    points = [
        [whitening.whiten(shared_rows(tables)[k].double()) for k in ids] for tables, ids in zip(levels, alive)
    ]
    price = []
    for assignment, ids in zip(assignments, alive):
        shares = [(int(assignment.members[k]) + 1) / (assignment.num_entities + len(ids)) for k in ids]
        price.append([-settings.reassign_entropy * math.log(share) for share in shares])
    # Views of which nothing is known begin with the first clusters.
    choice = {
        (view, level): alive[level].index(int(assignment.views(torch.tensor([view[0]]))[0, view[1]]))
        if one.evidence
        else 0
        for view, one in views.items()
        for level, assignment in enumerate(assignments)
    }
    for unknown in views.values():
        if not unknown.evidence:
            unknown.at = torch.stack([of_level[0] for of_level in points]).sum(dim=0)

    def put(level: int, moved: Sequence[Tensor], chosen: dict[tuple[int, int], int]) -> None:
        for view, one in views.items():
            one.at = one.at + moved[chosen[view]] - points[level][choice[view, level]]
            choice[view, level] = chosen[view]

    changed = set[int]()

    def merge(level: int) -> None:
        here = {view: choice[view, level] for view in views}
        merged, kept, chosen = reference_merge(views, points[level], here, folds, settings.split_gain)
        if len(kept) < len(points[level]):
            changed.add(level)
        put(level, merged, chosen)
        alive[level] = [alive[level][k] for k in kept]
        price[level] = [price[level][k] for k in kept]
        points[level] = merged

    def grow(level: int) -> None:
        # The ids of clusters that are merged are free at the next event only.
        free = [k for k in range(assignments[level].max_clusters) if k not in alive[level]]
        if merging and settings.split_gain:
            merge(level)
        limit = len(points[level]) + len(free)
        here = {view: choice[view, level] for view in views}
        grown, parents, chosen = reference_grow(views, points[level], here, folds, limit, settings)
        alive[level] += free[: len(parents)]
        if len(parents):
            changed.add(level)
        price[level] += [price[level][parent] for parent in parents]
        put(level, grown, chosen)
        points[level] = grown

    def choose(view: tuple[int, int], level: int) -> None:
        one, present = views[view], points[level][choice[view, level]]
        wanted = one.target - one.at + present
        costs = [
            float((wanted - point).square().sum() / 2) + cost / max(1, one.evidence)
            for point, cost in zip(points[level], price[level])
        ]
        choice[view, level] = costs.index(min(costs))
        one.at = one.at + points[level][choice[view, level]] - present

    def loss(view: tuple[int, int]) -> float:
        one = views[view]
        paid = sum(price[level][choice[view, level]] for level in range(len(levels)))
        return float((one.target - one.at).square().sum() / 2) * one.evidence + paid

    start = dict(choice), {view: (one.at, loss(view)) for view, one in views.items()}
    for sweep in range(SWEEPS):
        for level in range(len(levels)):
            if sweep == 0 and level in growing:
                grow(level)
            for view in views:
                choose(view, level)
    for number in range(settings.reassign_search):
        several = [level for level in range(len(levels)) if len(points[level]) > 1]
        for view, one in views.items() if len(several) > 1 else ():
            if not one.evidence:
                continue
            at, before, old = one.at, loss(view), [choice[view, level] for level in range(len(levels))]
            for change in range(CHANGES):
                salt = (seed * settings.reassign_search + number) * CHANGES + change
                drawn = looks_like_chance(view[0] * (folds + 1) + view[1], salt, 0)
                level, drawn = several[drawn % len(several)], drawn // len(several)
                present = points[level][choice[view, level]]
                choice[view, level] = drawn % len(points[level])
                one.at = one.at + points[level][choice[view, level]] - present
            for _ in range(SWEEPS):
                for level in range(len(levels)):
                    choose(view, level)
            if loss(view) >= (1 - SLIGHT) * before:
                one.at = at
                choice.update({(view, level): k for level, k in enumerate(old)})
    for view, one in views.items() if not changed else ():
        at, before = start[1][view]
        if one.evidence and before - loss(view) <= settings.reassign_gain:
            one.at = at
            choice.update({(view, level): start[0][view, level] for level in range(len(levels))})

    for level, (tables, assignment) in enumerate(zip(levels, assignments)):
        told = assignment.views(torch.arange(assignment.num_entities))
        for entity in range(assignment.num_entities):
            for fold in range(folds + 1):
                followed = fold if (entity, fold) in views else folds
                view = (entity, followed) if entity in expansions else idle
                told[entity, fold] = alive[level][choice[view, level]]
        rows = whitening.unwhiten(torch.stack(points[level])).float()
        with torch.no_grad():
            for table, part in zip(tables, rows.split([table.embedding_dim for table in tables], dim=1)):
                table.weight[alive[level]] = part
        assignment.move(torch.arange(assignment.num_entities), told)
