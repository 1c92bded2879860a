"""Move each entity to the cluster that serves its own interactions best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from ...embedding.assignment import ClusterAssignment
from ...embedding.clustered import ClusteredEmbedding
from ...evidence.bounds import at_once
from ...evidence.codebook import Codebook, sum_of
from ...evidence.grouping import Chunk, InteractionsByEntity
from ...evidence.objective import Objective
from ...evidence.probe import Probe, probe
from ..policy import Change, RowChange

# Bounds of memory: interactions in one pass through the model (small enough for the processor's caches), and
# losses (interactions x clusters) at once.
MAX_INTERACTIONS = 1 << 13
MAX_LOSSES = 1 << 19
# Differences of a summed loss below this share of it are rounding.
ROUNDING = 1e-6
# A cluster is run through the model only if its linearised gain is above this share of the gain asked for.
SCREENING = 0.5


def choose_best(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    index: InteractionsByEntity,
    gain: float,
    candidates: int,
    *,
    entropy: float = 0.0,
    keep: Tensor | None = None,
    advance: Callable[[int], object] = lambda interactions: None,
) -> Change:
    """Choose the best cluster of every entity if its summed loss falls by more than ``gain``.

    The output is taken as linear in the entity's row, so one forward and one backward pass give its loss under
    all clusters at once, as one matrix product. With ``candidates = 0`` that decides, which is exact for models
    that are linear in the row, such as FM. Otherwise at most ``candidates`` clusters that look best, and better
    by half of ``gain``, are run through the model and decide. Entities without interactions, and empty clusters,
    are left alone. Of several levels, each is decided after those before it.

    Args:
        objective: the training loss.
        levels: for each level of the field's embedding, the tables that share the level's assignment.
        index: the field's interactions.
        gain: in units of the loss (nats for cross-entropy).
        candidates: clusters checked exactly for each entity.
        entropy: a cluster with the share s of all entities costs ``-entropy * log(s)`` more, so that an entity
            needs evidence to enter a rare one (entropy-constrained vector quantisation).
        keep: shape ``(N,)``, bool, entities that stay where they are; by default none.
        advance: called with the number of interactions done, for a progress bar.
    """
    at = [Codebook(tables, entropy) for tables in levels]
    targets: list[list[Tensor]] = [[] for _ in at]
    entities = index.counts.nonzero().squeeze(1)
    before = after = 0.0
    row_change = RowChange()
    device, clusters = entities.device, max(len(level.alive) for level in at)
    max_interactions = max(1, min(at_once(MAX_INTERACTIONS, device), at_once(MAX_LOSSES, device) // clusters))
    for chunk in index.chunks(entities, max_interactions):
        pieces = list(chunk.pieces(max_interactions))
        seen: list[Probe] = []
        old = sum_of(
            [level.rows for level in at], [level.column[level.assignment(chunk.entities)] for level in at]
        )
        total = torch.zeros_like(old)
        with ExitStack() as decided:
            for level, target in zip(at, targets):
                if not seen:
                    seen = [probe(objective, level.tables, piece) for piece in pieces]
                current = level.column[level.assignment(chunk.entities)]
                losses = level.rows.new_zeros(len(chunk.entities), len(level.alive), dtype=torch.float64)
                for piece, part in zip(pieces, seen):
                    losses += _linearised_losses(objective, part, piece, level.rows, current)
                own = losses.gather(1, current.unsqueeze(1)).squeeze(1)
                if candidates:
                    losses = _checked_losses(objective, level, chunk, losses, current, gain, candidates)
                priced_own = own + level.price[current]
                best, choice = (losses + level.price).min(dim=1)
                better = priced_own - best > gain + ROUNDING * own.abs()
                if keep is not None:
                    better &= ~keep[chunk.entities]
                choice = torch.where(better, choice, current)
                target.append(level.alive[choice])
                steps = level.rows[choice] - level.rows[current]
                total += steps
                if level is at[0]:
                    before += float(own.sum())
                if level is at[-1]:
                    after += float((torch.where(better, best, priced_own) - level.price[choice]).sum())
                elif candidates and bool(better.any()):
                    # Elsewhere than at the old row the model is another one to first order.
                    seen = []
                    chosen = level.alive[choice[better]]
                    decided.enter_context(level.assignment.provisionally(chunk.entities[better], chosen))
                else:
                    seen = [_moved(part, steps[piece.owner]) for piece, part in zip(pieces, seen)]
        row_change.add(old, total)
        advance(len(chunk.interactions))
    changed = torch.zeros_like(entities, dtype=torch.bool)
    moves = list[tuple[ClusterAssignment, Tensor, Tensor]]()
    for level, parts in zip(at, targets):
        chosen = torch.cat(parts) if parts else entities
        differs = chosen != level.assignment(entities)
        moves.append((level.assignment, entities[differs], chosen[differs]))
        changed |= differs

    def write() -> None:
        for assignment, some, clusters in moves:
            assignment.move(some, clusters)

    return Change(int(changed.sum()), before, after, row_change=row_change.relative, write=write)


def _linearised_losses(objective: Objective, seen: Probe, chunk: Chunk, rows: Tensor, current: Tensor) -> Tensor:
    """Summed loss of each entity of the chunk under each cluster, shape ``(E, K)``."""
    without = seen.outputs - (seen.jacobian * rows[current][chunk.owner]).sum(dim=1)
    outputs = torch.addmm(without.unsqueeze(1), seen.jacobian, rows.T)
    losses = objective.loss(outputs, seen.targets.unsqueeze(1))
    return chunk.sum_by_entity(seen.weights.unsqueeze(1) * losses)


def _moved(seen: Probe, steps: Tensor) -> Probe:
    """What a probe would see after each interaction's entity took the step ``(B, D)``, to first order."""
    return seen._replace(outputs=seen.outputs + (seen.jacobian * steps).sum(dim=1))


def _checked_losses(
    objective: Objective,
    level: Codebook,
    chunk: Chunk,
    screened: Tensor,
    current: Tensor,
    gain: float,
    candidates: int,
) -> Tensor:
    """Exact losses of the promising clusters of each entity, shape ``(E, K)``; infinite for all others."""
    exact = torch.full_like(screened, float("inf"))
    own = screened.gather(1, current.unsqueeze(1))
    priced = screened + level.price
    best, choices = priced.topk(min(candidates, len(level.alive)), dim=1, largest=False)
    better = priced.gather(1, current.unsqueeze(1)) - best
    promising = better > SCREENING * gain + ROUNDING * own.abs()
    for choice, tried in zip(choices.unbind(dim=1), promising.unbind(dim=1)):
        if not bool(tried.any()):
            break
        part = chunk.of(tried)
        losses = exact.new_zeros(len(part.entities))
        with level.assignment.provisionally(part.entities, level.alive[choice[tried]]), torch.no_grad():
            for piece in part.pieces(at_once(MAX_INTERACTIONS, exact.device)):
                outputs = objective.outputs(piece.interactions)
                each = objective.loss(outputs, objective.targets(piece.interactions))
                losses += piece.sum_by_entity(objective.weights(piece.interactions) * each)
        exact[tried.nonzero().squeeze(1), choice[tried]] = losses
    return exact
