"""Reassignment with folds: what an interaction is trained with is decided without it.

Every view of an entity (see ``views.py``) goes, level by level, to the cluster that brings its row nearest to
where it ought to be by the view's interactions and by what the rows of all entities are like (see
``posterior.py``). Only the latter, the cuts and the rows themselves are told by all interactions. Levels that are
not grown yet may be grown in the same pass (see ``growth.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .grouping import InteractionsByEntity
from .growth import grow
from .level import Level
from .objective import Objective, check_gradients, loss_curvature, loss_slope
from .points import Metric, Points, nearest
from .posterior import Prior, fit_prior, num_entities
from .probe import Probe, probe_chunk
from .quadratic import Quadratic
from .reassignment import MAX_INTERACTIONS, Reassignment
from .settings import ClusterSettings
from .views import Views, dense

# Bounds of memory, in numbers: curvatures of one chunk; what is held of the entities that levels are grown by.
MAX_NUMBERS = 1 << 23
MAX_HELD = 1 << 24
# Rounds of choosing a cluster in each level, given those in the others.
SWEEPS = 4


def reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    index: InteractionsByEntity,
    settings: ClusterSettings,
    generator: torch.Generator,
    *,
    growing: Sequence[int] = (),
    keep: Tensor | None = None,
    seen_before: Probe | None = None,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Reassignment:
    """Choose the cluster of every view of every entity, and grow some levels.

    Args:
        objective: the training loss.
        levels: for each level of the field's embedding, the tables that share the level's assignment.
        index: the field's interactions, in folds.
        settings: rules.
        generator: draws the entities that tell the prior and that levels are grown by.
        growing: numbers of the levels that are grown first.
        keep: shape ``(N,)``, bool, entities that stay in their clusters whatever they would gain; None is nobody.
        seen_before: a probe of all interactions, if there is one already.
        advance: told the number of interactions done, for a progress bar.
    """
    entities = index.counts.nonzero().squeeze(1)
    if not len(entities):
        return Reassignment(0, 0.0, 0.0)
    entities = entities[torch.randperm(len(entities), generator=generator).to(entities.device)]
    at = [Level(tables, settings.reassign_prior) for tables in levels]
    width = at[0].rows.shape[1]
    # A cell and its view take as many numbers as a curvature has, and cells share out the interactions.
    per_interaction = max(1.0, 2 * width**2 * index.num_cells / len(index.order))
    max_interactions = int(max(1, min(MAX_INTERACTIONS, MAX_NUMBERS / per_interaction)))

    def look() -> Iterator[Views]:
        for chunk in index.chunks(entities, max_interactions):
            if seen_before is None:
                seen = probe_chunk(objective, levels[0], chunk, max_interactions)
            else:
                seen = seen_before.of(chunk.interactions)
            advance(len(chunk.interactions))
            yield Views(objective, at, chunk, seen)

    every = look()
    some = _first(every, num_entities(width))
    prior, metric = _learn(objective, some, num_entities(width))
    grown = [Level(tables, settings.reassign_prior) for tables in levels]
    choosing = Choosing(grown, metric, settings)
    unknown = metric.points(prior.mean.unsqueeze(0))
    # Clusters of all views and entities of which nothing is known.
    resting = [level.column[level.alive[:1]] for level in at]
    before = after = 0.0
    change = torch.zeros(len(index.order), device=entities.device)
    targets: list[list[Tensor]] = [[] for _ in at]
    for held in _portions(chain(some, every)):
        losses = [objective.loss(views.seen.outputs, views.seen.targets) for views in held]
        points = Points.joined([Points.of(*one, prior, metric) for one in zip(held, losses)], unknown)
        known = torch.cat([views.known for views in held])
        present = [torch.cat([level.column[views.assigned(level)] for views in held]) for level in at]
        choices = [torch.cat([columns[known], rest]) for columns, rest in zip(present, resting)]
        stays = torch.zeros_like(known)
        if keep is not None:
            stays = torch.cat([keep[views.chunk.entities][views.owner] for views in held])
        choosing.choose(points, choices, growing, torch.cat([stays[known], stays.new_zeros(1)]))
        growing = ()
        resting = [choice[-1:] for choice in choices]
        chosen = [torch.where(stays & ~known, old, new[points.place]) for old, new in zip(present, choices)]
        rows = torch.stack([level.rows[choice] for level, choice in zip(grown, chosen)]).sum(dim=0)
        sizes = [len(views.owner) for views in held]
        for views, loss, row in zip(held, losses, rows.split(sizes)):
            outputs = views.moved_outputs(row - views.rows)
            change[views.chunk.interactions] = outputs - views.seen.outputs
            before += float(loss.double().sum())
            after += float(objective.loss(outputs, views.seen.targets).double().sum())
        for level, choice, parts in zip(grown, chosen, targets):
            parts += [dense(views.chunk, ids) for views, ids in zip(held, level.alive[choice].split(sizes))]
    changed = torch.zeros_like(entities, dtype=torch.bool)
    idle = index.counts == 0 if keep is None else (index.counts == 0) & ~keep
    everyone = torch.cat([entities, idle.nonzero().squeeze(1)])
    for level, parts, rest in zip(grown, targets, resting):
        target = torch.cat(parts)
        changed |= target[:, -1] != level.assignment(entities)
        level.write()
        others = level.alive[rest].expand(len(everyone) - len(entities), target.shape[1])
        level.assignment.move(everyone, torch.cat([target, others]))
    return Reassignment(int(changed.sum()), before, after, choosing.splits, change)


def _first(every: Iterator[Views], number: int) -> list[Views]:
    """As many as hold the first ``number`` entities."""
    found = list[Views]()
    for views in every:
        found.append(views)
        number -= len(views.chunk.entities)
        if number <= 0:
            break
    return found


def _learn(objective: Objective, some: Iterable[Views], number: int) -> tuple[Prior, Metric]:
    """What the rows of the first ``number`` entities are like, and how much they matter.

    Raises:
        ValueError: if a gradient is not finite, as when training diverges.
    """
    losses: list[Quadratic] = []
    curvature: Tensor | float = 0.0
    squares = bends = interactions = 0.0
    for views in some:
        check_gradients(views.gradients)
        entities = len(views.chunk.entities)
        wholes = slice(len(views.owner) - entities, len(views.owner) - entities + min(entities, number))
        here = views.chunk.owner < number
        number = max(0, number - entities)
        every = views.losses()
        losses.append(Quadratic(every.linear[wholes], every.curvature[wholes]))
        curvature = curvature + losses[-1].curvature.sum(dim=0)
        outputs, wanted = views.seen.outputs[here], views.seen.targets[here]
        interactions += len(outputs)
        squares += float(loss_slope(objective, outputs, wanted).double().square().sum())
        bends += float(loss_curvature(objective, outputs, wanted).double().sum())
    assert isinstance(curvature, Tensor)
    joined = Quadratic(*(torch.cat(parts) for parts in zip(*losses)))
    # Losses that do not depend on the outputs say nothing.
    dispersion = squares / bends if squares and bends else 1.0
    return fit_prior(joined, dispersion), Metric.of(curvature / interactions)


class Choosing:
    """Puts views into clusters, level by level, and grows levels.

    Args:
        levels: all levels of the field's embedding; those that are grown get more clusters.
        metric: what a distance costs.
        settings: rules.

    Attributes:
        splits: for each level that was grown, its number, and the ids of parents and children.
    """

    def __init__(self, levels: Sequence[Level], metric: Metric, settings: ClusterSettings) -> None:
        self._levels = levels
        self._metric = metric
        self._settings = settings
        self._points = [metric.points(level.rows) for level in levels]
        self.splits: list[tuple[int, Tensor, Tensor]] = []

    def choose(self, views: Points, choices: list[Tensor], growing: Sequence[int], stays: Tensor) -> None:
        """Choose for these ``views``.

        Args:
            views: of some entities; their points are put where their choices are.
            choices: for each level, the choice of each point, shape ``(P,)``; changed in place.
            growing: numbers of levels to grow first.
            stays: shape ``(P,)``, bool, points that keep their choice.
        """
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


def _portions(every: Iterable[Views]) -> Iterator[list[Views]]:
    """Chunks that may be held together."""
    held, numbers = list[Views](), 0
    for views in every:
        held.append(views)
        numbers += views.seen.jacobian.numel() + 6 * views.rows.numel()
        if numbers > MAX_HELD:
            yield held
            held, numbers = [], 0
    if held:
        yield held
