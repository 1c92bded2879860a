"""Reassignment with folds: what an interaction is trained with is decided without it.

Every view of an entity (see ``evidence/out_of_fold.py``) goes, level by level, to the cluster that brings its row
nearest to its target, by the view's interactions and by the prior (see ``evidence/prior.py``). Only the prior, the
cuts and the rows themselves depend on all interactions. Levels may be grown in the same pass (see ``growth.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from ...embedding.clustered import ClusteredEmbedding
from ...evidence.bounds import at_once
from ...evidence.codebook import Codebook, sum_of
from ...evidence.gauss_newton import Quadratic
from ...evidence.grouping import Chunk, InteractionsByEntity
from ...evidence.numerics import NumericalError, check_finite
from ...evidence.objective import Objective, loss_curvature, loss_slope
from ...evidence.out_of_fold import CurrentLevels, Views
from ...evidence.prior import fit_prior, num_entities
from ...evidence.probe import Probe, Seen, probe_chunk
from ...evidence.whitening import Whitening
from ..policy import Change, RowChange
from ..settings import ClusterSettings
from .choosing import Choosing
from .search import Chance
from .trial import tried

# Bounds of memory on a CPU, which change no decision: interactions in one pass through the model, and of one
# chunk; numbers of its views.
MAX_INTERACTIONS = 1 << 13
MAX_CHUNK = 1 << 16
MAX_NUMBERS = 1 << 22
# Numbers of the views of the entities that levels are grown by; more would hardly tell more.
MAX_SAMPLED = 1 << 24
# What an interaction is trained with is chosen without it, so its loss may rise a little. If losses rise by more
# than this share, a quadratic function is no picture of them, as in a network that has hardly been trained; then
# entities go a part of the way.
MAX_RISE = 0.05
DAMPINGS = (1.0, 0.25, 0.0625)
# A model that is right about how sure it is has one.
MAX_DISPERSION = 1e8


def choose_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    index: InteractionsByEntity,
    settings: ClusterSettings,
    generator: torch.Generator,
    *,
    growing: Sequence[int] = (),
    settle: bool = False,
    merging: bool = False,
    keep: Tensor | None = None,
    seen_before: Seen | None = None,
    change_before: Tensor | None = None,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Change:
    """Choose the cluster of every view of every entity, and grow some levels; the caller has it written.

    If losses would rise by more than a few per cent, entities go a part of their way only, and in the end none.

    Args:
        objective: the training loss.
        levels: for each level of the field's embedding, the tables that share the level's assignment.
        index: the field's interactions, in folds.
        settings: rules.
        generator: draws the entities that tell the prior and that levels are grown by; its seed is also that of
            the search for better codes.
        growing: numbers of the levels that are grown first.
        settle: choose once among the clusters there are before levels grow.
        merging: merge clusters that do not pay before levels grow.
        keep: shape ``(N,)``, bool, entities that stay in their clusters whatever they would gain; None is nobody.
        seen_before: what is known of all interactions, if it is known already.
        change_before: shape ``(n,)``, by how much outputs are about to change by what was chosen for other fields.
        advance: called with the number of interactions done, for a progress bar.

    Raises:
        NumericalError: if outputs, gradients or curvatures are not finite, as when training diverges, or if the
            interactions that tell the prior have no weight.
    """
    if not bool(index.counts.any()):
        return Change(0, 0.0, 0.0)
    looking = _Looking(objective, levels, index, settings, generator, seen_before, change_before, advance)
    every, few = looking.at_all(), num_entities(looking.width)
    some = _first(every, few)
    whitening = _learn(objective, looking.levels, some, few)
    every = chain(some, every)
    chance = Chance.of(generator.initial_seed(), settings.reassign_search, len(looking.entities))
    done = Change(0, 0.0, 0.0)
    for damping in DAMPINGS:
        grown = [Codebook(tables, settings.reassign_entropy) for tables in levels]
        choosing = Choosing(grown, whitening, settings, merging, chance)
        start = CurrentLevels.of(looking.levels, whitening, damping)
        done = _chosen(looking, every, start, choosing, growing, settle, keep)
        if not done.skipped:
            break
        every = looking.at_all()
    return done


class _Looking:
    """Entities in an order of chance, and what is known of their interactions, in bounded chunks.

    Attributes:
        levels: as they are.
        width: numbers D of a row.
        entities: those with interactions, shape ``(E,)``.
        number: how many of them levels are grown by; they come first.
    """

    def __init__(
        self,
        objective: Objective,
        levels: Sequence[Sequence[ClusteredEmbedding]],
        index: InteractionsByEntity,
        settings: ClusterSettings,
        generator: torch.Generator,
        seen_before: Seen | None,
        change_before: Tensor | None,
        advance: Callable[[int], object],
    ) -> None:
        self.objective, self.index, self._tables = objective, index, levels[0]
        self._seen_before, self._change_before, self._advance = seen_before, change_before, advance
        self.levels = [Codebook(tables, settings.reassign_entropy) for tables in levels]
        self.width = self.levels[0].rows.shape[1]
        entities = index.counts.nonzero().squeeze(1)
        self.entities = entities[torch.randperm(len(entities), generator=generator).to(entities.device)]
        self.number = sample_size(index.counts[self.entities], self.width, index.num_folds)

    def at_all(self) -> Iterator[tuple[Chunk, Probe]]:
        """What is known of all interactions."""
        device, numbers = self.entities.device, (self.index.num_folds + 1) * self.width
        most = max(1, min(at_once(MAX_CHUNK, device), at_once(MAX_NUMBERS, device) // numbers))
        in_one_pass = at_once(MAX_INTERACTIONS, device)
        # A chunk does not go beyond the sample, so that bounds do not change who belongs to it.
        parts = self.entities[: self.number], self.entities[self.number :]
        for chunk in chain.from_iterable(self.index.chunks(some, most) for some in parts):
            if self._seen_before:
                seen = self._seen_before.at(chunk)
            else:
                seen = probe_chunk(self.objective, self._tables, chunk, in_one_pass)
            if self._change_before is not None:
                seen = seen._replace(outputs=seen.outputs + self._change_before[chunk.interactions])
            self._advance(len(chunk.interactions))
            yield chunk, seen


class _Tally:
    """What choices do to losses and rows.

    Attributes:
        change: shape ``(n,)``, by how much the output of each interaction changes.
    """

    def __init__(self, change: Tensor) -> None:
        self.change = change
        self.before = self.after = self._seen = 0.0
        self._rows = RowChange()

    def add(self, views: Views, at_last: Tensor) -> None:
        """Count entities that go to points ``at_last`` ``(E, F + 1, D)``."""
        changes = views.changes(at_last - views.at)
        self.change[views.chunk.interactions] = changes
        self._seen += float(views.weights.double().sum())
        self._rows.add(views.at[:, -1], at_last[:, -1] - views.at[:, -1])
        self.before += float(views.training_losses().double().sum())
        self.after += float(views.losses(views.outputs + changes).double().sum())

    def refused(self) -> Change:
        """Nothing, for losses would rise."""
        return Change(0, self.before, self.before, interactions=self._seen, skipped="losses would rise")

    def done(self, moved: int, splits: Sequence[tuple[int, Tensor, Tensor]], write: Callable[[], None]) -> Change:
        """What is to be written."""
        return Change(
            *(moved, self.before, self.after, splits, self.change, self._seen),
            row_change=self._rows.relative,
            write=write,
        )


def _chosen(
    looking: _Looking,
    every: Iterable[tuple[Chunk, Probe]],
    start: CurrentLevels,
    choosing: Choosing,
    growing: Sequence[int],
    settle: bool,
    keep: Tensor | None,
) -> Change:
    """Grow levels by the first entities, and choose for all; nothing, if losses would rise."""
    tally = _Tally(start.points[0].new_zeros(len(looking.index.order)))
    grown, targets = choosing.levels, list[list[Tensor]]([] for _ in choosing.levels)
    whole = (Views(looking.objective, start, choosing.whitening, *chunk) for chunk in every)
    for held in _sample_first(whole, looking.number):
        first = not targets[0]
        choices = choosing.choose(held, growing if first else (), keep, settle)
        points = sum_of(choosing.points, choices)
        for views, at_last in zip(held, points.split([len(views.at) for views in held])):
            tally.add(views, at_last)
        for level, choice, parts in zip(grown, choices, targets):
            parts.append(level.alive.to(level.assignment.dtype)[choice])
        if first and _rises(*tried(looking.objective, grown, [parts[0] for parts in targets], held[0].chunk)):
            return tally.refused()
    if _rises(tally.before, tally.after):
        return tally.refused()
    entities, sizes = looking.entities, [len(part) for part in targets[0]]
    moved = torch.zeros_like(entities, dtype=torch.bool)
    for level, parts in zip(grown, targets):
        for movers, ids, part in zip(moved.split(sizes), entities.split(sizes), parts):
            movers |= part[:, -1] != level.assignment.clusters_at(ids)
    idle = looking.index.counts == 0
    idle = idle if keep is None else idle & ~keep

    def write() -> None:
        for level, parts, rest in zip(grown, targets, choosing.resting):
            level.write()
            resting = [int(level.alive[rest])] * parts[0].shape[1]
            level.assignment.move_all([*zip(entities.split(sizes), parts)], (idle, resting))

    return tally.done(int(moved.sum()), choosing.splits, write)


def _rises(before: float, after: float) -> bool:
    return not after <= (1 + MAX_RISE) * before


def _first(every: Iterator[tuple[Chunk, Probe]], number: int) -> list[tuple[Chunk, Probe]]:
    """As many as hold the first ``number`` entities."""
    found = list[tuple[Chunk, Probe]]()
    for chunk, seen in every:
        found.append((chunk, seen))
        number -= len(chunk.entities)
        if number <= 0:
            break
    return found


def _learn(
    objective: Objective, levels: Sequence[Codebook], some: Iterable[tuple[Chunk, Probe]], number: int
) -> Whitening:
    """What the rows of the first ``number`` entities are like, and how much they matter."""
    losses: list[Quadratic] = []
    squares = curvature = interactions = squared_gradient = 0.0
    for chunk, seen in some:
        first = torch.arange(len(chunk.entities), device=chunk.owner.device) < number
        part, part_seen = chunk.of(first), seen.of(first[chunk.owner].nonzero().squeeze(1))
        losses.append(Quadratic.of_entities(objective, levels, part, part_seen))
        check_finite(losses[-1].linear, "gradients")
        number = max(0, number - len(chunk.entities))
        outputs, wanted, weights = part_seen.outputs, part_seen.targets, part_seen.weights.double()
        interactions += float(weights.sum())
        slopes = weights * loss_slope(objective, outputs, wanted)
        squares += float(slopes.square().sum())
        squared_gradient += float((slopes.square() * part_seen.jacobian.double().square().mean(dim=1)).sum())
        curvature += float((weights * loss_curvature(objective, outputs, wanted)).sum())
    if not interactions:
        raise NumericalError("the interactions that tell the prior weigh nothing")
    joined = Quadratic(*(torch.cat(parts) for parts in zip(*losses)))
    # Losses that do not depend on the outputs say nothing, and saturated ones little.
    dispersion = squares / max(curvature, squares / MAX_DISPERSION) if squares else 1.0
    prior = fit_prior(joined, dispersion)
    return Whitening.of(joined.curvature.sum(dim=0) / interactions, prior, squared_gradient / interactions)


def sample_size(counts: Tensor, width: int, folds: int) -> int:
    """How many of the first entities levels are grown by, if these have so many interactions each.

    Args:
        counts: shape ``(E,)``.
        width: numbers D of a row.
        folds: number of folds F.
    """
    views = folds + 1
    numbers = counts * (width + 2 * views) + 6 * views * width
    return max(1, int(torch.searchsorted(numbers.cumsum(0), MAX_SAMPLED, right=True)))


def _sample_first(every: Iterable[Views], number: int) -> Iterator[list[Views]]:
    """The chunks of the first ``number`` entities together, and the others one by one."""
    sample = list[Views]()
    for views in every:
        if number <= 0:
            yield [views]
            continue
        sample.append(views)
        number -= len(views.chunk.entities)
        if number <= 0:
            yield sample
