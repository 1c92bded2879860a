"""Reassignment with folds: what an interaction is trained on is decided without it, and then checked on it.

An entity has several *views* (see ``embedding/folds.py``): what is assigned without each fold of its interactions,
and what is assigned with all of them. The best cluster by the interactions of a view need not be the best one for
other interactions of the entity, above all where they are few: one bought item says little. The fold that a view
leaves out tells how well each choice did, so a choice is *calibrated*: entities that have as much evidence and
prefer the same cluster go together to the one which served such entities best where it was not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .grouping import Chunk, InteractionsByEntity, views
from .objective import Objective, loss_slope
from .probe import Probe, probe
from .reassignment import MAX_INTERACTIONS, MAX_LOSSES, Level, Reassignment

# Entities with as much evidence: 0, 1, 2, 3-4, 5-8, 9-16, 17-32 and more interactions in the view.
EVIDENCE = (1, 2, 3, 5, 9, 17, 33)
# A group leaves the cluster that it prefers only for one that is better by so much on what was left out.
CALIBRATION_GAIN = 10.0
# Calibration looks at about so many interactions, of entities drawn at random; it bounds memory and time.
SAMPLE = 1 << 18


class ViewProbe:
    """The interactions of a chunk's entities as each view of the entities would have them, to first order.

    Args:
        objective: the training loss.
        levels: all levels of the field's embedding, as they are now.
        chunk: entities with their interactions.
        seen: a probe of the chunk.

    Attributes:
        chunk: the same.
        jacobian: shape ``(B, D)``, derivative of each output with respect to its entity's own row.
        outputs: shape ``(B, V)``, output of each interaction if its entity's row was that of the view.
        evidence: shape ``(E, V)``, number of interactions in the view.
    """

    def __init__(self, objective: Objective, levels: Sequence[Level], chunk: Chunk, seen: Probe) -> None:
        self._objective = objective
        self._targets = seen.targets.unsqueeze(1)
        self.chunk = chunk
        self.jacobian = seen.jacobian
        shares = [self._share(level, level.column[level.assignment.views(chunk.entities)]) for level in levels]
        of_views = torch.stack(shares).sum(dim=0)
        trained = of_views.gather(1, chunk.fold.unsqueeze(1))
        self.outputs = seen.outputs.unsqueeze(1) + of_views - trained
        self.evidence = views(chunk.sum_by_fold(torch.ones_like(chunk.owner)))

    def gradients(self) -> Tensor:
        """Gradient of each view's summed loss by its row, shape ``(E, V, D)``, float64."""
        slopes = loss_slope(self._objective, self.outputs, self._targets.expand_as(self.outputs))
        every_view = torch.arange(slopes.shape[1], device=slopes.device)
        slopes = slopes * (self.chunk.fold.unsqueeze(1) != every_view)
        return self.chunk.sum_by_entity((slopes.unsqueeze(2) * self.jacobian.unsqueeze(1)).double())

    def losses(self, level: Level, current: Tensor) -> tuple[Tensor, Tensor]:
        """Summed losses under each cluster of ``level``, in place of ``current`` ``(E, V)``.

        Returns:
            Of the interactions of each view, shape ``(E, V, K)``; of those that each view but the last leaves out,
            shape ``(E, V - 1, K)``.
        """
        product = self.jacobian @ level.rows.T
        without = self.outputs - product.gather(1, current[self.chunk.owner])
        outputs = product.unsqueeze(1) + without.unsqueeze(2)
        losses = self._objective.loss(outputs, self._targets.unsqueeze(2)).double()
        total = self.chunk.sum_by_entity(losses)
        # The last view leaves nothing out.
        every = torch.arange(len(losses), device=losses.device)
        left_out = self.chunk.sum_by_fold(losses[every, self.chunk.fold])
        total[:, :-1] -= left_out
        return total, left_out

    def move(self, level: Level, before: Tensor, after: Tensor) -> None:
        """Let the views have clusters ``after`` in place of ``before``, both ``(E, V)``."""
        self.outputs = self.outputs + self._share(level, after) - self._share(level, before)

    def training_loss(self) -> float:
        """Summed loss where each interaction has the view without its fold."""
        outputs = self.outputs.gather(1, self.chunk.fold.unsqueeze(1))
        return float(self._objective.loss(outputs, self._targets).double().sum())

    def _share(self, level: Level, chosen: Tensor) -> Tensor:
        """What each view's cluster ``(E, V)`` adds to the outputs, shape ``(B, V)``."""
        product = self.jacobian @ level.rows.T
        return product.gather(1, chosen[self.chunk.owner])


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
    advance: Callable[[int], object] = lambda interactions: None,
) -> Reassignment:
    """Choose the cluster of every view of every entity.

    The output is taken as linear in the entity's row. Of several levels, each is decided after those before it. A
    view prefers the cluster with the lowest summed loss of its interactions; another one than its present cluster
    only if it is better by ``gain``. Without calibration that decides, and a view without interactions stays where
    it is. With calibration, views of one preference and of as much evidence go together where they should.

    Args:
        objective: the training loss.
        levels: for each level of the field's embedding, the tables that share the level's assignment.
        index: the field's interactions, in folds.
        gain: in units of the loss (nats for cross-entropy).
        generator: draws the entities that calibrate.
        prior: weight of the prior, as in :func:`~.reassignment.reassign`.
        keep: shape ``(N,)``, bool, entities that stay in their clusters whatever they would gain; None is nobody.
        calibration: whether to calibrate; it takes ``F * K ** 2`` numbers for each amount of evidence.
        sample: interactions that calibrate, about.
        advance: told the number of interactions done, for a progress bar.
    """
    at = [Level(tables, prior) for tables in levels]
    choosing = [level for level in at if len(level.alive) > 1]
    widest = max(len(level.alive) for level in at) * (index.num_folds + 1)
    max_interactions = max(1, min(MAX_INTERACTIONS, MAX_LOSSES // widest))
    entities = index.counts.nonzero().squeeze(1)
    if not len(entities):
        return Reassignment(0, 0.0, 0.0)
    entities = entities[torch.randperm(len(entities), generator=generator).to(entities.device)]
    at_least = int(index.counts[entities[:1]].sum()) if calibration else 0
    first = int((index.counts[entities].cumsum(0) <= max(sample * calibration, at_least)).sum())
    before = after = 0.0
    maps: list[Tensor] = []
    targets: list[list[Tensor]] = [[] for _ in choosing]

    def look(entities: Tensor) -> Iterator[ViewProbe]:
        for chunk in index.chunks(entities, max_interactions):
            pieces = [probe(objective, levels[0], piece) for piece in chunk.pieces(max_interactions)]
            advance(len(chunk.interactions))
            yield ViewProbe(objective, at, chunk, Probe(*(torch.cat(values) for values in zip(*pieces))))

    if calibration:
        probes = list(look(entities[:first]))
        before += sum(seen.training_loss() for seen in probes)
        for level, parts in zip(choosing, targets):
            found, chosen = _calibrate(level, probes, gain, keep)
            maps.append(found)
            parts += [level.alive[some] for some in chosen]
        after += sum(seen.training_loss() for seen in probes)
    for seen in look(entities[first:]):
        before += seen.training_loss()
        for number, (level, parts) in enumerate(zip(choosing, targets)):
            current, preferred, _ = _prefer(level, seen, gain)
            if calibration:
                choice = _mapped(maps[number], seen.evidence, preferred)
            else:
                choice = torch.where(seen.evidence > 0, preferred, current)
            choice = _kept(keep, seen.chunk.entities, current, choice)
            seen.move(level, current, choice)
            parts.append(level.alive[choice])
        after += seen.training_loss()
    changed = torch.zeros_like(entities, dtype=torch.bool)
    for number, (level, parts) in enumerate(zip(choosing, targets)):
        target = torch.cat(parts)
        changed |= (target != level.assignment.views(entities))[:, -1]
        everyone = entities
        if calibration:
            # Entities without any interaction have as much evidence as views without one.
            idle = (index.counts == 0).nonzero().squeeze(1)
            nothing = torch.zeros(1, target.shape[1], dtype=torch.int64, device=target.device)
            rest = level.alive[_mapped(maps[number], nothing, nothing)].expand(len(idle), -1)
            everyone, target = torch.cat([entities, idle]), torch.cat([target, rest])
        level.assignment.move(everyone, target)
    return Reassignment(int(changed.sum()), before, after)


def _prefer(level: Level, seen: ViewProbe, gain: float) -> tuple[Tensor, Tensor, Tensor]:
    """The cluster that each view has and the one that it prefers, shape ``(E, V)``, and the losses left out.

    The present cluster gets ``gain`` ahead.
    """
    current = level.column[level.assignment.views(seen.chunk.entities)]
    losses, left_out = seen.losses(level, current)
    ahead = losses.new_full((*current.shape, 1), -gain)
    preferred = (losses + level.price).scatter_add_(2, current.unsqueeze(2), ahead).argmin(dim=2)
    return current, preferred, left_out


def _calibrate(
    level: Level, probes: Sequence[ViewProbe], gain: float, keep: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """Where views of each evidence and preference should go, shape ``(V, evidence, K)``.

    Each view is told by the folds of the other views alone. Also returned is where this puts the views of each
    probe, shapes ``(E, V)``, to which the probes are moved.
    """
    kinds, clusters = len(EVIDENCE) + 1, len(level.alive)
    folds = probes[0].chunk.num_folds
    table = level.rows.new_zeros(folds, kinds * clusters, clusters, dtype=torch.float64)
    preferences = []
    for seen in probes:
        current, preferred, left_out = _prefer(level, seen, gain)
        group = _group(seen.evidence, preferred, clusters)
        for fold in range(folds):
            table[fold].index_add_(0, group[:, fold], left_out[:, fold])
        preferences.append((seen, current, preferred))
    others = torch.cat([table.sum(dim=0) - table, table.sum(dim=0, keepdim=True)])
    stay = torch.arange(clusters, device=table.device).repeat(kinds).expand(folds + 1, -1)
    best, target = others.min(dim=2)
    better = others.gather(2, stay.unsqueeze(2)).squeeze(2) - best > CALIBRATION_GAIN
    found = torch.where(better, target, stay).view(folds + 1, kinds, clusters)
    chosen = []
    for seen, current, preferred in preferences:
        choice = _mapped(found, seen.evidence, preferred)
        chosen.append(_kept(keep, seen.chunk.entities, current, choice))
        seen.move(level, current, chosen[-1])
    return found, chosen


def _kept(keep: Tensor | None, entities: Tensor, current: Tensor, choice: Tensor) -> Tensor:
    """``choice`` ``(E, V)``, but ``current`` for those of the ``entities`` that stay."""
    return choice if keep is None else torch.where(keep[entities].unsqueeze(1), current, choice)


def _group(evidence: Tensor, preferred: Tensor, clusters: int) -> Tensor:
    """Number of the group of each view, shape ``(E, V)``; without evidence there is no preference."""
    edges = torch.tensor(EVIDENCE, device=evidence.device)
    kind = torch.bucketize(evidence, edges, right=True)
    return kind * clusters + preferred * (evidence > 0)


def _mapped(found: Tensor, evidence: Tensor, preferred: Tensor) -> Tensor:
    """Where views go by a calibration ``(V, evidence, K)``, shape ``(E, V)``."""
    flat = found.flatten(1).T
    return flat.gather(0, _group(evidence, preferred, found.shape[2]))
