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
from .choosing import Choosing
from .grouping import InteractionsByEntity
from .level import Level
from .objective import Objective, check_gradients, loss_curvature, loss_slope
from .points import Metric
from .posterior import Prior, fit_prior, num_entities
from .probe import Probe, probe_chunk
from .quadratic import Quadratic
from .reassignment import MAX_INTERACTIONS, Reassignment
from .settings import ClusterSettings
from .views import Views, dense

# Bounds of memory: interactions of one chunk; numbers in its curvatures; numbers that are held of the entities
# that levels are grown by.
MAX_CHUNK = 1 << 14
MAX_NUMBERS = 1 << 23
MAX_HELD = 1 << 24


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

    Raises:
        ValueError: if a gradient is not finite, as when training diverges.
    """
    entities = index.counts.nonzero().squeeze(1)
    if not len(entities):
        return Reassignment(0, 0.0, 0.0)
    entities = entities[torch.randperm(len(entities), generator=generator).to(entities.device)]
    at = [Level(tables, settings.reassign_prior) for tables in levels]
    width = at[0].rows.shape[1]
    # A cell and its view take as many numbers as a curvature has, and cells share out the interactions.
    per_interaction = max(1.0, 2 * width**2 * index.num_cells / len(index.order))
    max_interactions = int(max(1, min(MAX_CHUNK, MAX_NUMBERS / per_interaction)))

    def look() -> Iterator[Views]:
        for chunk in index.chunks(entities, max_interactions):
            if seen_before is None:
                seen = probe_chunk(objective, levels[0], chunk, MAX_INTERACTIONS)
            else:
                seen = seen_before.of(chunk.interactions)
            advance(len(chunk.interactions))
            views = Views(objective, at, chunk, seen)
            check_gradients(views.gradients)
            yield views

    every = look()
    some = _first(every, num_entities(width))
    prior, metric = _learn(objective, some, num_entities(width))
    grown = [Level(tables, settings.reassign_prior) for tables in levels]
    choosing = Choosing(grown, prior, metric, settings)
    before = after = 0.0
    change = torch.zeros(len(index.order), device=entities.device)
    targets: list[list[Tensor]] = [[] for _ in at]
    for held in _portions(chain(some, every)):
        choices = choosing.choose(held, growing, keep)
        growing = ()
        sizes = [len(views.owner) for views in held]
        rows = torch.stack([level.rows[choice] for level, choice in zip(grown, choices)]).sum(dim=0)
        for views, row in zip(held, rows.split(sizes)):
            outputs = views.moved_outputs(row - views.rows)
            change[views.chunk.interactions] = outputs - views.seen.outputs
            before += float(views.training_losses().double().sum())
            after += float(objective.loss(outputs, views.seen.targets).double().sum())
        for level, choice, parts in zip(grown, choices, targets):
            parts += [dense(views.chunk, ids) for views, ids in zip(held, level.alive[choice].split(sizes))]
    changed = torch.zeros_like(entities, dtype=torch.bool)
    idle = index.counts == 0 if keep is None else (index.counts == 0) & ~keep
    everyone = torch.cat([entities, idle.nonzero().squeeze(1)])
    for level, parts, rest in zip(grown, targets, choosing.resting):
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
    """What the rows of the first ``number`` entities are like, and how much they matter."""
    losses: list[Quadratic] = []
    curvature: Tensor | float = 0.0
    squares = bends = interactions = 0.0
    for views in some:
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
