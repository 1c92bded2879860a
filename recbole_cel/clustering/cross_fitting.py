"""Reassignment with folds: what an interaction is trained on is decided without it, and then checked on it.

An entity has several *views* (see ``embedding/folds.py``): what is assigned without each fold of its interactions,
and what is assigned with all of them. The best cluster by the interactions of a view need not be the best one for
other interactions of the entity, above all where they are few: one bought item says little. The fold that a view
leaves out tells how well each choice did, and so a choice is *calibrated*, in two steps. First preferences are
shrunk (see ``shrinkage.py``): to the losses of a view's own interactions are added those of some more, as entities
with as much evidence have them on average. Then entities that have as much evidence and prefer the same cluster go
together to the one which served such entities best where it was not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .grouping import Blocks, Chunk, InteractionsByEntity
from .objective import Objective, loss_slope
from .probe import Probe, probe_chunk
from .quadratic import Quadratic, Reach, curvatures
from .reassignment import MAX_INTERACTIONS, Level, Reassignment
from .shrinkage import NUM_KINDS, kind_of, others_than, shrinkage

# A group leaves the cluster that it prefers only for one that is better by so much on what was left out.
CALIBRATION_GAIN = 10.0
# Calibration looks at about so many interactions; it bounds memory and time.
SAMPLE = 1 << 18
# Bounds of memory, in numbers: curvatures of one chunk, and of the cells that calibrate; views have as many.
MAX_NUMBERS = 1 << 23
MAX_HELD = 1 << 24


class Views:
    """The views of a chunk's entities, with their losses to second order in the row (see ``quadratic.py``).

    There is a view for each cell of the chunk, which is what is assigned without that cell's interactions, and
    after these a view for each entity, which is what is assigned with all. No interaction is trained with what is
    assigned without a fold where the entity has none; that follows the view with all.

    Args:
        objective: the training loss.
        levels: all levels of the field's embedding, as they are now.
        chunk: entities with their interactions.
        seen: a probe of the chunk.

    Attributes:
        chunk: the same.
        owner: shape ``(V,)``, position of each view's entity in the chunk.
        fold: shape ``(V,)``, the fold that each view leaves out, F where it leaves out none.
        evidence: shape ``(V,)``, number of interactions in the view.
        gradients: shape ``(V, D)``, of the views' losses by the rows that they have at first.
    """

    def __init__(self, objective: Objective, levels: Sequence[Level], chunk: Chunk, seen: Probe) -> None:
        self._objective = objective
        self._seen = seen
        self.chunk = chunk
        everyone = torch.arange(len(chunk.entities), device=chunk.owner.device)
        sizes = chunk.cell_sizes()
        counts = torch.bincount(chunk.owner, minlength=len(everyone))
        self.owner = torch.cat([chunk.cell_owner, everyone])
        self.fold = torch.cat([chunk.cell_fold, torch.full_like(everyone, chunk.num_folds)])
        self.evidence = torch.cat([counts[chunk.cell_owner] - sizes, counts])
        shares = [level.rows[level.column[self.assigned(level)]] for level in levels]
        self._rows = torch.stack(shares).sum(dim=0)
        trained = self._rows[: len(sizes)]
        self._steps = torch.zeros_like(trained)
        self._first_rows = self._rows
        self._reach = reach_of(levels)
        self._left_out_gradients, self.gradients = self._find_gradients()

    @cached_property
    def quadratics(self) -> tuple[Quadratic, Quadratic]:
        """Losses as functions of the row: of the interactions in each view, and of each cell."""
        chunk, trained = self.chunk, self._first_rows[: len(self._steps)]
        cells = curvatures(self._objective, chunk, self._seen, trained, self._reach)
        by_entity = cells.new_zeros((len(chunk.entities), *cells.shape[1:]))
        by_entity.index_add_(0, chunk.cell_owner, cells)
        views = torch.cat([by_entity[chunk.cell_owner] - cells, by_entity])
        return (
            Quadratic.about(self._first_rows, self.gradients, views),
            Quadratic.about(trained, self._left_out_gradients, cells),
        )

    def assigned(self, level: Level) -> Tensor:
        """Cluster of each view, shape ``(V,)``."""
        return level.assignment.views(self.chunk.entities)[self.owner, self.fold]

    def losses(self, level: Level, current: Tensor) -> tuple[Tensor, Tensor]:
        """Summed losses under each cluster of ``level``, in place of ``current`` ``(V,)``, up to a constant.

        Returns:
            Of the interactions in each view, shape ``(V, K)``; of those that each cell's view leaves out, shape
            ``(C, K)``.
        """
        base = self._rows - level.rows[current]
        views, cells = self.quadratics
        return views.at(base, level.rows), cells.at(base[: len(self._steps)], level.rows)

    def move(self, level: Level, before: Tensor, after: Tensor) -> None:
        """Let the views have clusters ``after`` in place of ``before``, both ``(V,)``."""
        steps = level.rows[after] - level.rows[before]
        self._rows = self._rows + steps
        self._steps = self._steps + steps[: len(self._steps)]

    def training_loss(self) -> float:
        """Summed loss where each interaction has the view without its cell, to first order in the outputs."""
        moved = (self._seen.jacobian * self._steps[self.chunk.cell]).sum(dim=1)
        return float(self._objective.loss(self._seen.outputs + moved, self._seen.targets).double().sum())

    def _find_gradients(self) -> tuple[Tensor, Tensor]:
        """Gradients by the row of the losses of the cells, shape ``(C, D)``, and of the views, ``(V, D)``."""
        chunk, fold = self.chunk, self.chunk.cell_fold[self.chunk.cell].unsqueeze(1)
        blocks = Blocks(chunk.owner, len(chunk.entities))
        jacobian, rows = blocks.pad(self._seen.jacobian), dense(chunk, self._rows)[blocks.group]
        shares = blocks.unpad(torch.bmm(jacobian, rows.transpose(1, 2)))
        outputs = self._seen.outputs.unsqueeze(1) + shares - shares.gather(1, fold)
        slopes = loss_slope(self._objective, outputs, self._seen.targets.unsqueeze(1).expand_as(outputs))
        outside = blocks.pad(slopes.scatter(1, fold, 0.0))
        of_views = blocks.sum_products(outside, jacobian)
        of_cells = chunk.sum_by_cell(slopes.gather(1, fold) * self._seen.jacobian)
        return of_cells, of_views[self.owner, self.fold]


def dense(chunk: Chunk, values: Tensor) -> Tensor:
    """What a chunk's views ``(V, ...)`` are given, by entity and left-out fold, shape ``(E, F + 1, ...)``."""
    cells = len(chunk.cell_owner)
    every = values[cells:].unsqueeze(1).repeat(1, chunk.num_folds + 1, *[1] * (values.dim() - 1))
    every[chunk.cell_owner, chunk.cell_fold] = values[:cells]
    return every


def reach_of(levels: Sequence[Level]) -> Reach:
    """Of the rows that entities would have with any cluster in each level."""
    means = [level.rows.mean(dim=0) for level in levels]
    centred = [level.rows - mean for level, mean in zip(levels, means)]
    spread = torch.stack([rows.T @ rows / len(rows) for rows in centred]).sum(dim=0)
    return Reach(torch.stack(means).sum(dim=0), spread)


def reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    index: InteractionsByEntity,
    gain: float,
    generator: torch.Generator,
    *,
    prior: float = 0.0,
    keep: Tensor | None = None,
    calibration: bool = True,
    sample: int = SAMPLE,
    seen_before: Probe | None = None,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Reassignment:
    """Choose the cluster of every view of every entity.

    The losses are taken as quadratic in the entity's row. Of several levels, each is decided after those before
    it. A view prefers the cluster with the lowest summed loss of its interactions; another one than its present
    cluster only if it is better by ``gain``. Without calibration that decides, and a view without interactions
    stays where it is. With calibration, views of one preference and of as much evidence go together where they
    should.

    Args:
        objective: the training loss.
        levels: for each level of the field's embedding, the tables that share the level's assignment.
        index: the field's interactions, in folds.
        gain: in units of the loss (nats for cross-entropy).
        generator: draws the entities that calibrate, above all those with little evidence, which need it most and
            cost least.
        prior: weight of the prior, as in :func:`~.reassignment.reassign`.
        keep: shape ``(N,)``, bool, entities that stay in their clusters whatever they would gain; None is nobody.
        calibration: whether to calibrate; it takes ``F * K ** 2`` numbers for each amount of evidence.
        sample: interactions that calibrate, about.
        seen_before: a probe of all interactions, if there is one already.
        advance: told the number of interactions done, for a progress bar.
    """
    at = [Level(tables, prior) for tables in levels]
    choosing = [level for level in at if len(level.alive) > 1]
    width = at[0].rows.shape[1]
    # A cell and its view take as many numbers as a curvature has, and cells share out the interactions.
    per_interaction = 2 * width**2 * index.num_cells / max(1, len(index.order))
    per_interaction = max(1.0, per_interaction, 2.0 * max(len(level.alive) for level in at))
    max_interactions = int(max(1, min(MAX_INTERACTIONS, MAX_NUMBERS / per_interaction)))
    entities = index.counts.nonzero().squeeze(1)
    if not len(entities):
        return Reassignment(0, 0.0, 0.0)
    lots = torch.rand(len(entities), generator=generator).to(entities.device) * index.counts[entities]
    entities = entities[lots.argsort()]
    # Losses of whole entities: the first of them is looked at, however much it has.
    cells = index.counts[entities].clamp(max=index.num_folds).cumsum(0)
    some = (index.counts[entities].cumsum(0) <= sample) & (cells <= MAX_HELD // width**2)
    first = max(1, int(some.sum())) if calibration else 0
    before = after = 0.0
    calibrations: list[Calibration] = []
    targets: list[list[Tensor]] = [[] for _ in choosing]

    def look(entities: Tensor) -> Iterator[Views]:
        for chunk in index.chunks(entities, max_interactions):
            if seen_before is None:
                seen = probe_chunk(objective, levels[0], chunk, max_interactions)
            else:
                seen = seen_before.of(chunk.interactions)
            advance(len(chunk.interactions))
            yield Views(objective, at, chunk, seen)

    if calibration:
        sampled = list(look(entities[:first]))
        before += sum(seen.training_loss() for seen in sampled)
        for level, parts in zip(choosing, targets):
            found, chosen = _calibrate(level, sampled, gain, keep)
            calibrations.append(found)
            parts += [dense(seen.chunk, level.alive[some]) for seen, some in zip(sampled, chosen)]
        after += sum(seen.training_loss() for seen in sampled)
        del sampled
    for seen in look(entities[first:]):
        before += seen.training_loss()
        for number, (level, parts) in enumerate(zip(choosing, targets)):
            current, losses, _ = _losses(level, seen, gain)
            if calibration:
                choice = calibrations[number].choose(seen, losses)
            else:
                choice = torch.where(seen.evidence > 0, losses.argmin(dim=1), current)
            choice = _kept(keep, seen, current, choice)
            seen.move(level, current, choice)
            parts.append(dense(seen.chunk, level.alive[choice]))
        after += seen.training_loss()
    changed = torch.zeros_like(entities, dtype=torch.bool)
    for number, (level, parts) in enumerate(zip(choosing, targets)):
        target = torch.cat(parts)
        changed |= target[:, -1] != level.assignment(entities)
        everyone = entities
        if calibration:
            # Entities without any interaction have as much evidence as views without one.
            idle = (index.counts == 0 if keep is None else (index.counts == 0) & ~keep).nonzero().squeeze(1)
            rest = level.alive[calibrations[number].target[-1, 0, 0]].expand(len(idle), target.shape[1])
            everyone, target = torch.cat([entities, idle]), torch.cat([target, rest])
        level.assignment.move(everyone, target)
    return Reassignment(int(changed.sum()), before, after)


def _losses(level: Level, seen: Views, gain: float) -> tuple[Tensor, Tensor, Tensor]:
    """The cluster of each view, shape ``(V,)``, and the losses in it ``(V, K)`` and left out of it ``(C, K)``.

    The present cluster gets ``gain`` ahead, and the prior's price is added, in what is not left out.
    """
    current = level.column[seen.assigned(level)]
    losses, left_out = seen.losses(level, current)
    ahead = level.price.new_full((len(current), 1), -gain)
    return current, (losses + level.price).scatter_add_(1, current.unsqueeze(1), ahead), left_out


class Calibration(NamedTuple):
    """What views of each left-out fold and each amount of evidence do; told by the folds of other views alone.

    Attributes:
        pull: shape ``(F + 1, kinds, K)``, what is added to the losses of a view.
        target: shape ``(F + 1, kinds, K)``, where a view goes that prefers each cluster then.
    """

    pull: Tensor
    target: Tensor

    def choose(self, seen: Views, losses: Tensor) -> Tensor:
        """Where views with these ``losses`` ``(V, K)`` go, shape ``(V,)``."""
        kind = kind_of(seen.evidence)
        return self.target[seen.fold, kind, _preferred(losses, self.pull, seen.fold, kind)]


def _preferred(losses: Tensor, pull: Tensor, fold: Tensor, kind: Tensor) -> Tensor:
    """The cluster that each view prefers, shape ``(V,)``; without evidence there is no preference, written 0."""
    return (losses + pull[fold, kind]).argmin(dim=1) * (kind > 0)


def _calibrate(
    level: Level, sampled: Sequence[Views], gain: float, keep: Tensor | None
) -> tuple[Calibration, list[Tensor]]:
    """Calibrate one level; also returned is where this puts each of the sampled views, shapes ``(V,)``.

    These are moved there.
    """
    clusters, folds = len(level.alive), sampled[0].chunk.num_folds
    looked = [_losses(level, seen, gain) for seen in sampled]
    cells = [len(left_out) for _, _, left_out in looked]
    fold = torch.cat([seen.fold[:number] for seen, number in zip(sampled, cells)])
    kind = kind_of(torch.cat([seen.evidence[:number] for seen, number in zip(sampled, cells)]))
    losses = torch.cat([one[:number] for (_, one, _), number in zip(looked, cells)])
    left_out = torch.cat([one for _, _, one in looked]).double()
    sizes = torch.cat([seen.chunk.cell_sizes() for seen in sampled])
    pull, usual = shrinkage(fold, kind, losses, left_out, sizes, folds)

    group = (fold * NUM_KINDS + kind) * clusters + _preferred(losses, pull, fold, kind)
    table = left_out.new_zeros(folds * NUM_KINDS * clusters, clusters).index_add_(0, group, left_out)
    others = others_than(table.view(folds, NUM_KINDS, clusters, clusters))
    stay = torch.arange(clusters, device=table.device).repeat(folds + 1, NUM_KINDS, 1)
    stay[:, 0] = usual.unsqueeze(1)
    best, target = others.min(dim=3)
    better = others.gather(3, stay.unsqueeze(3)).squeeze(3) - best > CALIBRATION_GAIN
    found = Calibration(pull, torch.where(better, target, stay))
    chosen = []
    for seen, (current, one, _) in zip(sampled, looked):
        chosen.append(_kept(keep, seen, current, found.choose(seen, one)))
        seen.move(level, current, chosen[-1])
    return found, chosen


def _kept(keep: Tensor | None, seen: Views, current: Tensor, choice: Tensor) -> Tensor:
    """``choice`` ``(V,)``, but ``current`` for the entities that stay."""
    return choice if keep is None else torch.where(keep[seen.chunk.entities][seen.owner], current, choice)
