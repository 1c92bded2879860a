"""Split and reassignment, written to be read: one cluster, one entity and one candidate at a time.

The fast implementations in ``split.py`` and ``reassignment.py`` are tested to agree with these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .cross_fitting import CALIBRATION_GAIN, EVIDENCE
from .gpca import RELATIVE_VARIANCE
from .objective import Objective
from .reassignment import ROUNDING, SCREENING


def recorded_outputs(
    objective: Objective, tables: Sequence[ClusteredEmbedding], interactions: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Outputs of the interactions, and the rows that each table returned for them, as leaves."""
    with ExitStack() as stack:
        records = [stack.enter_context(table.record()) for table in tables]
        outputs = objective.outputs(interactions)
    return outputs, [record[0].rows for record in records]


def own_gradient(
    objective: Objective, tables: Sequence[ClusteredEmbedding], interactions: Tensor
) -> tuple[Tensor, Tensor]:
    """One entity's gradient with respect to its own row, summed over its interactions, and its summed loss.

    Returns:
        The gradient, tables side by side, shape ``(D,)``, float64; the loss, shape ``()``, float64.
    """
    outputs, rows = recorded_outputs(objective, tables, interactions)
    losses = objective.loss(outputs, objective.targets(interactions))
    gradients = torch.autograd.grad(losses.sum(), rows)
    return torch.cat([g.double().sum(dim=0) for g in gradients]), losses.detach().double().sum()


def first_order(
    objective: Objective, tables: Sequence[ClusteredEmbedding], interactions: Tensor
) -> tuple[Tensor, Tensor]:
    """One entity's outputs, shape ``(B,)``, and their derivatives by its own row, shape ``(B, D)``."""
    outputs, rows = recorded_outputs(objective, tables, interactions)
    derivatives = torch.autograd.grad(outputs.sum(), rows)
    return outputs.detach(), torch.cat(derivatives, dim=1)


def reference_split(
    objective: Objective,
    tables: Sequence[ClusteredEmbedding],
    entity_of: Tensor,
    criterion: str = "interactions",
    threshold: str = "zero",
    max_splits: int = 0,
) -> None:
    """Split the clusters of ``tables`` in place. ``entity_of`` has shape ``(n,)``: each interaction's entity."""
    assignment = tables[0].assignment
    proposals = []
    moving_views: list[tuple[int, int, int]] = []
    for cluster in range(assignment.max_clusters):
        members = [int(e) for e in (assignment.clusters == cluster).nonzero()]
        active = [e for e in members if (entity_of == e).any()]
        if len(active) < 2:
            continue
        counts = [int((entity_of == e).sum()) for e in active]
        gradient_of, loss = {}, 0.0
        for e in active:
            interactions = (entity_of == e).nonzero().squeeze(1)
            loss += float(own_gradient(objective, tables, interactions)[1])
            with as_view([tables], e, -1):
                gradient_of[e], _ = own_gradient(objective, tables, interactions)
        gradients = torch.stack([gradient_of[e] for e in active])

        centred = gradients - gradients.mean(dim=0)
        variances, vectors = torch.linalg.eigh(centred.T @ centred / len(active))
        if variances[-1] <= RELATIVE_VARIANCE * gradients.square().sum(dim=1).mean():
            continue
        direction = vectors[:, -1]
        if direction[direction.abs().argmax()] < 0:
            direction = -direction
        projections = centred @ direction

        if threshold == "zero":
            cut = 0.0
        elif threshold == "median":
            cut = float(projections.sort().values[(len(active) - 1) // 2])
        else:
            reached = 0
            for position in projections.argsort().tolist():
                reached += counts[position]
                cut = float(projections[position])
                if 2 * reached >= sum(counts):
                    break

        mean = gradients.mean(dim=0)
        beyond = [e for e, p in zip(active, projections) if p > cut]
        stay = [e for e in active if e not in beyond]
        if not beyond or not stay:
            continue
        far = sum(c for e, c in zip(active, counts) if e in beyond)
        movers = stay if far > sum(counts) - far else beyond
        score = {
            "interactions": sum(counts),
            "members": len(members),
            "loss": loss,
            "mean_loss": loss / sum(counts),
            "gradient_norm": float(gradients.norm(dim=1).sum()),
        }[criterion]
        # What is assigned without a fold goes where the other folds' gradient says.
        told = assignment.views(torch.tensor(active))
        share = 1.0 - 1.0 / assignment.num_folds
        for row, e in enumerate(active):
            for view, interactions in enumerate(interactions_of_views(objective, tables, entity_of, e)[:-1]):
                if len(interactions) and int(told[row, view]) == cluster:
                    with as_view([tables], e, view):
                        gradient, _ = own_gradient(objective, tables, interactions)
                    if (float((gradient - share * mean) @ direction) > share * cut) != (movers is stay):
                        moving_views.append((cluster, e, view))
        moving_views += [(cluster, e, told.shape[1] - 1) for e in movers]
        proposals.append((-score, cluster))

    free = [k for k in range(assignment.max_clusters) if assignment.members[k] == 0]
    proposals.sort(key=lambda proposal: proposal[:2])
    for (_, parent), child in zip(proposals[: max_splits or None], free):
        everyone = torch.arange(assignment.num_entities)
        told = assignment.views(everyone)
        for cluster, e, view in moving_views:
            if cluster == parent:
                told[e, view] = child
        assignment.move(everyone, told)
        with torch.no_grad():
            for table in tables:
                table.weight[child] = table.weight[parent]


def reference_reassign(
    objective: Objective,
    tables: Sequence[ClusteredEmbedding],
    entity_of: Tensor,
    gain: float,
    candidates: int | None = None,
    prior: float = 0.0,
    keep: Sequence[int] = (),
) -> None:
    """Move every entity to its best cluster, in place; those in ``keep`` stay.

    With ``candidates = None`` the model is run for every entity and cluster. With a number, only so many
    clusters are tried that look best to first order, and better by half of ``gain``. Being in a cluster with
    the share s of all entities costs ``-prior * log(s)``. Levels are reassigned one after the other.
    """
    assignment = tables[0].assignment
    alive = [k for k in range(assignment.max_clusters) if assignment.members[k] > 0]
    size = assignment.num_entities + len(alive)
    price = {k: -prior * math.log((int(assignment.members[k]) + 1) / size) for k in alive}
    targets = assignment.clusters.long()
    for entity in entity_of.unique():
        if int(entity) in keep:
            continue
        interactions = (entity_of == entity).nonzero().squeeze(1)
        wanted = objective.targets(interactions)
        own_cluster = int(targets[entity])

        def true_loss(cluster: int, entity: Tensor = entity, interactions: Tensor = interactions) -> float:
            one = entity.unsqueeze(0)
            with assignment.provisionally(one, torch.tensor([cluster])), torch.no_grad():
                outputs = objective.outputs(interactions)
            loss = float(objective.loss(outputs, objective.targets(interactions)).sum())
            return loss + price[cluster]

        own = true_loss(own_cluster)
        tried = [k for k in alive if k != own_cluster]
        if candidates is not None:
            outputs, jacobian = first_order(objective, tables, interactions)
            rows = torch.cat([table.weight.detach() for table in tables], dim=1)
            looks = {
                k: float(objective.loss(outputs + jacobian @ (rows[k] - rows[own_cluster]), wanted).sum())
                + price[k]
                for k in tried
            }
            tried = [k for k in tried if own - looks[k] > SCREENING * gain + ROUNDING * abs(own)]
            tried = sorted(tried, key=lambda k: (looks[k], k))[:candidates]
        losses = {k: true_loss(k) for k in tried}
        if losses:
            best = min(losses, key=lambda k: (losses[k], k))
            if own - losses[best] > gain + ROUNDING * abs(own):
                targets[entity] = best
    assignment.move(torch.arange(len(targets)), targets)


def interactions_of_views(
    objective: Objective, tables: Sequence[ClusteredEmbedding], entity_of: Tensor, entity: int
) -> list[Tensor]:
    """The entity's interactions outside of each fold, and last all of them; without folds, only these."""
    folds = tables[0].assignment.num_folds
    everything = (entity_of == entity).nonzero().squeeze(1)
    if folds == 1:
        return [everything]
    fold = objective.folds(folds)[everything]
    return [*(everything[fold != left_out] for left_out in range(folds)), everything]


@contextmanager
def as_view(levels: Sequence[Sequence[ClusteredEmbedding]], entity: int, view: int) -> Iterator[None]:
    """Within the block, all interactions of the entity look up what one of its views is assigned."""
    one = torch.tensor([entity])
    with ExitStack() as stack:
        for tables in levels:
            assignment = tables[0].assignment
            stack.enter_context(assignment.provisionally(one, assignment.views(one)[:, view]))
        yield


def reference_reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    entity_of: Tensor,
    gain: float,
    prior: float = 0.0,
    calibration: bool = True,
) -> None:
    """Choose the cluster of every view of every entity, in place; for models that are linear in the row."""
    folds = levels[0][0].assignment.num_folds
    for tables in levels:
        assignment = tables[0].assignment
        alive = [k for k in range(assignment.max_clusters) if assignment.members[k] > 0]
        size = assignment.num_entities + len(alive)
        price = {k: -prior * math.log((int(assignment.members[k]) + 1) / size) for k in alive}
        told = assignment.views(torch.arange(assignment.num_entities))
        preferred: dict[tuple[int, int], tuple[int, int]] = {}
        left_out: dict[tuple[int, tuple[int, int]], Tensor] = {}
        for entity in range(assignment.num_entities):
            one = torch.tensor([entity])
            of_views = interactions_of_views(objective, tables, entity_of, entity)
            for view, interactions in enumerate(of_views):
                losses = {}
                for k in alive:
                    with as_view(levels, entity, view), assignment.provisionally(one, torch.tensor([k])):
                        outputs = objective.outputs(of_views[-1]).detach()
                    losses[k] = objective.loss(outputs, objective.targets(of_views[-1]))
                inside = torch.isin(of_views[-1], interactions)
                score = {k: float(losses[k][inside].sum()) + price[k] for k in alive}
                score[int(told[entity, view])] -= gain
                best = min(alive, key=lambda k: (score[k], k)) if len(interactions) else alive[0]
                kind = sum(len(interactions) >= edge for edge in EVIDENCE)
                preferred[entity, view] = (kind, best)
                if view < folds:
                    outside = torch.stack([losses[k][~inside].double().sum() for k in alive])
                    group = (view, (kind, best))
                    left_out[group] = left_out.get(group, 0.0) + outside
        for (entity, view), (kind, best) in preferred.items():
            if calibration:
                groups = [(fold, (kind, best)) for fold in range(folds) if fold != view]
                total = sum((left_out[g] for g in groups if g in left_out), torch.zeros(len(alive)))
                if float(total[alive.index(best)] - total.min()) > CALIBRATION_GAIN:
                    best = alive[int(total.argmin())]
            elif kind == 0:
                continue
            told[entity, view] = best
        assignment.move(torch.arange(len(told)), told)
