"""Reassignment with folds: what an interaction is trained on is decided without it, and then checked on it.

An entity has several *views* (see ``embedding/folds.py``): what is assigned without each fold of its interactions,
and what is assigned with all of them. The best cluster by the interactions of a view need not be the best one for
other interactions of the entity, above all where they are few: one bought item says little. The fold that a view
leaves out tells how well each choice did, so a choice is *calibrated*: entities that have as much evidence and
prefer the same cluster go together to the one which served such entities best where it was not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        seen: a probe of the chunk, for each piece of it.

    Attributes:
        chunk: the same.
        jacobian: shape ``(B, D)``, derivative of each output with respect to its entity's own row.
        outputs: shape ``(B, V)``, output of each interaction if its entity's row was that of the view.
        evidence: shape ``(E, V)``, number of interactions in the view.
    """

    def __init__(
        self,
        objective: Objective,
        levels: Sequence[Sequence[ClusteredEmbedding]],
        chunk: Chunk,
        seen: Probe,
    ) -> None:
        self._objective = objective
        self._targets = seen.targets
        self.chunk = chunk
        self.jacobian = seen.jacobian
        rows = sum(Level(tables).rows_of_views(chunk.entities) for tables in levels)
        assert isinstance(rows, Tensor)  # there is at least one level
        trained = rows[chunk.owner, chunk.fold].unsqueeze(1)
        steps = rows[chunk.owner] - trained
        self.outputs = seen.outputs.unsqueeze(1) + (steps @ seen.jacobian.unsqueeze(2)).squeeze(2)
        self.evidence = views(chunk.sum_by_fold(torch.ones_like(chunk.owner)))

    def gradients(self) -> Tensor:
        """Gradient of each view's summed loss by its row, shape ``(E, V, D)``, float64."""
        found = []
        for view, outputs in enumerate(self.outputs.unbind(dim=1)):
            slope = loss_slope(self._objective, outputs, self._targets) * (self.chunk.fold != view)
            found.append(self.chunk.sum_by_entity((slope.unsqueeze(1) * self.jacobian).double()))
        return torch.stack(found, dim=1)

    def losses(self, level: Level, current: Tensor) -> tuple[Tensor, Tensor]:
        """Summed losses under each cluster of ``level``, in place of ``current`` ``(E, V)``.

        Returns:
            Of the interactions of each view, shape ``(E, V, K)``; of those that each view but the last leaves out,
            shape ``(E, V - 1, K)``.
        """
        product = self.jacobian @ level.rows.T
        own = product.gather(1, current[self.chunk.owner])
        inside, outside = [], []
        for view, outputs in enumerate(self.outputs.unbind(dim=1)):
            tried = product + (outputs - own[:, view]).unsqueeze(1)
            losses = self._objective.loss(tried, self._targets.unsqueeze(1)).double()
            # The last view leaves nothing out; its number is no fold.
            out = (self.chunk.fold == view).unsqueeze(1)
            total = self.chunk.sum_by_entity(losses)
            left_out = self.chunk.sum_by_entity(losses * out) if view < self.chunk.num_folds else None
            inside.append(total if left_out is None else total - left_out)
            if left_out is not None:
                outside.append(left_out)
        return torch.stack(inside, dim=1), torch.stack(outside, dim=1)

    def move(self, level: Level, before: Tensor, after: Tensor) -> None:
        """Let the views have clusters ``after`` in place of ``before``, both ``(E, V)``."""
        steps = (level.rows[after] - level.rows[before])[self.chunk.owner]
        self.outputs = self.outputs + (steps @ self.jacobian.unsqueeze(2)).squeeze(2)

    def training_loss(self) -> float:
        """Summed loss where each interaction has the view without its fold."""
        outputs = self.outputs.gather(1, self.chunk.fold.unsqueeze(1)).squeeze(1)
        return float(self._objective.loss(outputs, self._targets).double().sum())


def reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    index: InteractionsByEntity,
    gain: float,
    generator: torch.Generator,
    *,
    prior: float = 0.0,
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
        calibration: whether to calibrate; it takes ``F * K ** 2`` numbers for each amount of evidence.
        sample: interactions that calibrate, about.
        advance: told the number of interactions done, for a progress bar.
    """
    at = [Level(tables, prior) for tables in levels]
    choosing = [level for level in at if len(level.alive) > 1]
    widest = max(len(level.alive) for level in at) * (index.num_folds + 1)
    max_interactions = max(1, min(MAX_INTERACTIONS, MAX_LOSSES // widest))
    entities = index.counts.nonzero().squeeze(1)
    maps: list[Tensor] = []
    if calibration:
        drawn = entities[torch.randperm(len(entities), generator=generator).to(entities.device)]
        drawn = drawn[index.counts[drawn].cumsum(0) <= max(sample, int(index.counts[drawn[:1]].sum()))]
        probes = [
            ViewProbe(objective, levels, chunk, _whole_probe(objective, levels[0], chunk, max_interactions))
            for chunk in index.chunks(drawn, max_interactions)
        ]
        for level in choosing:
            maps.append(_calibrate(level, probes, gain))
    before = after = 0.0
    targets: list[list[Tensor]] = [[] for _ in choosing]
    for chunk in index.chunks(entities, max_interactions):
        seen = ViewProbe(objective, levels, chunk, _whole_probe(objective, levels[0], chunk, max_interactions))
        before += seen.training_loss()
        for number, level in enumerate(choosing):
            current = level.column[level.assignment.views(chunk.entities)]
            preferred = _preferred(level, seen.losses(level, current)[0], current, gain)
            if calibration:
                chosen = _mapped(maps[number], seen.evidence, preferred)
            else:
                chosen = torch.where(seen.evidence > 0, preferred, current)
            seen.move(level, current, chosen)
            targets[number].append(level.alive[chosen])
        after += seen.training_loss()
        advance(len(chunk.interactions))
    changed = torch.zeros_like(entities, dtype=torch.bool)
    for number, level in enumerate(choosing):
        told, target = level.assignment.views(entities), torch.cat(targets[number])
        changed |= (target != told)[:, -1]
        if calibration:
            # Entities without any interaction have as much evidence as views without one.
            idle = (index.counts == 0).nonzero().squeeze(1)
            nothing = torch.zeros(1, target.shape[1], dtype=torch.int64, device=target.device)
            everyone = torch.cat([entities, idle])
            rest = level.alive[_mapped(maps[number], nothing, nothing)].expand(len(idle), -1)
            level.assignment.move(everyone, torch.cat([target, rest]))
        else:
            level.assignment.move(entities, target)
    return Reassignment(int(changed.sum()), before, after)


def _whole_probe(
    objective: Objective, tables: Sequence[ClusteredEmbedding], chunk: Chunk, max_interactions: int
) -> Probe:
    parts = [probe(objective, tables, piece) for piece in chunk.pieces(max_interactions)]
    return Probe(*(torch.cat(values) for values in zip(*parts)))


def _preferred(level: Level, losses: Tensor, current: Tensor, gain: float) -> Tensor:
    """The cluster that each view prefers, shape ``(E, V)``; its present one gets ``gain`` ahead."""
    priced = losses + level.price
    ahead = priced.new_full((*current.shape, 1), -gain)
    return priced.scatter_add(2, current.unsqueeze(2), ahead).argmin(dim=2)


def _calibrate(level: Level, probes: Sequence[ViewProbe], gain: float) -> Tensor:
    """Where views of each evidence and preference should go, shape ``(V, evidence, K)``.

    Each view is told by the folds of the other views alone. The probes are moved on to the next level.
    """
    kinds, clusters = len(EVIDENCE) + 1, len(level.alive)
    folds = probes[0].chunk.num_folds
    table = level.rows.new_zeros(folds, kinds * clusters, clusters, dtype=torch.float64)
    preferences = []
    for seen in probes:
        current = level.column[level.assignment.views(seen.chunk.entities)]
        inside, outside = seen.losses(level, current)
        preferred = _preferred(level, inside, current, gain)
        group = _group(seen.evidence, preferred, clusters)
        for fold in range(folds):
            table[fold].index_add_(0, group[:, fold], outside[:, fold])
        preferences.append((seen, current, preferred))
    left_out = torch.cat([table.sum(dim=0) - table, table.sum(dim=0, keepdim=True)])
    stay = torch.arange(clusters, device=table.device).repeat(kinds).expand(folds + 1, -1)
    best, target = left_out.min(dim=2)
    better = left_out.gather(2, stay.unsqueeze(2)).squeeze(2) - best > CALIBRATION_GAIN
    found = torch.where(better, target, stay).view(folds + 1, kinds, clusters)
    for seen, current, preferred in preferences:
        seen.move(level, current, _mapped(found, seen.evidence, preferred))
    return found


def _group(evidence: Tensor, preferred: Tensor, clusters: int) -> Tensor:
    """Number of the group of each view, shape ``(E, V)``; without evidence there is no preference."""
    edges = torch.tensor(EVIDENCE, device=evidence.device)
    kind = torch.bucketize(evidence, edges, right=True)
    return kind * clusters + preferred * (evidence > 0)


def _mapped(found: Tensor, evidence: Tensor, preferred: Tensor) -> Tensor:
    """Where views go by a calibration ``(V, evidence, K)``, shape ``(E, V)``."""
    flat = found.flatten(1).T
    return flat.gather(0, _group(evidence, preferred, found.shape[2]))
