"""Move each entity to the cluster that serves its own interactions best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .grouping import Chunk, InteractionsByEntity
from .objective import Objective
from .probe import Probe, probe, shared_rows

# Bounds of memory: interactions in one pass through the model (small enough for the processor's caches), and
# losses (interactions x clusters) at once.
MAX_INTERACTIONS = 1 << 13
MAX_LOSSES = 1 << 20
# Differences of a summed loss below this share of it are rounding.
ROUNDING = 1e-6
# A cluster is run through the model only if its linearised gain is above this share of the gain asked for.
SCREENING = 0.5


class Reassignment(NamedTuple):
    """What a reassignment did: entities moved, summed training loss before and after."""

    moved: int
    loss_before: float
    loss_after: float


def reassign(
    objective: Objective,
    tables: Sequence[ClusteredEmbedding],
    index: InteractionsByEntity,
    gain: float,
    candidates: int,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Reassignment:
    """Move every entity to its best cluster if its summed loss falls by more than ``gain``.

    The output is taken as linear in the entity's row, so one forward and one backward pass give its loss under
    all clusters at once, as one matrix product. With ``candidates = 0`` that decides, which is exact for models
    that are linear in the row, such as FM. Otherwise at most ``candidates`` clusters that look best, and better
    by half of ``gain``, are run through the model and decide. Entities without interactions, and empty clusters,
    are left alone.

    Args:
        objective: the training loss.
        tables: the tables that share the field's assignment.
        index: the field's interactions.
        gain: in units of the loss (nats for cross-entropy).
        candidates: clusters checked exactly for each entity.
        advance: told the number of interactions done, for a progress bar.
    """
    assignment = tables[0].assignment
    alive = (assignment.members > 0).nonzero().squeeze(1)
    rows = shared_rows(tables)[alive]
    column = torch.zeros_like(assignment.members)
    column[alive] = torch.arange(len(alive), device=alive.device)
    entities = index.counts.nonzero().squeeze(1)
    targets = []
    before = after = 0.0
    max_interactions = max(1, min(MAX_INTERACTIONS, MAX_LOSSES // len(alive)))
    for chunk in index.chunks(entities, max_interactions):
        current = column[assignment(chunk.entities)]
        losses = rows.new_zeros(len(chunk.entities), len(alive), dtype=torch.float64)
        for piece in chunk.pieces(max_interactions):
            seen = probe(objective, tables, piece)
            losses += _linearised_losses(objective, seen, piece, rows, current)
        own = losses.gather(1, current.unsqueeze(1)).squeeze(1)
        if candidates:
            losses = _checked_losses(objective, tables, chunk, losses, own, gain, alive, candidates)
        best, choice = losses.min(dim=1)
        moves = own - best > gain + ROUNDING * own.abs()
        targets.append(alive[torch.where(moves, choice, current)])
        before += float(own.sum())
        after += float(torch.where(moves, best, own).sum())
        advance(len(chunk.interactions))
    target = torch.cat(targets) if targets else entities
    changed = target != assignment(entities)
    assignment.move(entities[changed], target[changed])
    return Reassignment(int(changed.sum()), before, after)


def _linearised_losses(objective: Objective, seen: Probe, chunk: Chunk, rows: Tensor, current: Tensor) -> Tensor:
    """Summed loss of each entity of the chunk under each cluster, shape ``(E, K)``."""
    without = seen.outputs - (seen.jacobian * rows[current][chunk.owner]).sum(dim=1)
    outputs = torch.addmm(without.unsqueeze(1), seen.jacobian, rows.T)
    return chunk.sum_by_entity(objective.loss(outputs, seen.targets.unsqueeze(1)))


def _checked_losses(
    objective: Objective,
    tables: Sequence[ClusteredEmbedding],
    chunk: Chunk,
    screened: Tensor,
    own: Tensor,
    gain: float,
    alive: Tensor,
    candidates: int,
) -> Tensor:
    """Exact losses of the promising clusters of each entity, shape ``(E, K)``; infinite for all others."""
    exact = torch.full_like(screened, float("inf"))
    best, choices = screened.topk(min(candidates, len(alive)), dim=1, largest=False)
    promising = own.unsqueeze(1) - best > SCREENING * gain + ROUNDING * own.abs().unsqueeze(1)
    for choice, tried in zip(choices.unbind(dim=1), promising.unbind(dim=1)):
        if not bool(tried.any()):
            break
        part = chunk.of(tried)
        losses = exact.new_zeros(len(part.entities))
        with tables[0].assignment.provisionally(part.entities, alive[choice[tried]]), torch.no_grad():
            for piece in part.pieces(MAX_INTERACTIONS):
                outputs = objective.outputs(piece.interactions)
                losses += piece.sum_by_entity(objective.loss(outputs, objective.targets(piece.interactions)))
        exact[tried.nonzero().squeeze(1), choice[tried]] = losses
    return exact
