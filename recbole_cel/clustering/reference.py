"""Split and reassignment, written to be read: one cluster, one entity and one candidate at a time.

The fast implementations in ``split.py`` and ``reassignment.py`` are tested to agree with these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
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
    for cluster in range(assignment.max_clusters):
        members = [int(e) for e in (assignment.clusters == cluster).nonzero()]
        active = [e for e in members if (entity_of == e).any()]
        if len(active) < 2:
            continue
        counts = [int((entity_of == e).sum()) for e in active]
        found = [own_gradient(objective, tables, (entity_of == e).nonzero().squeeze(1)) for e in active]
        gradients = torch.stack([gradient for gradient, _ in found])
        loss = float(torch.stack([value for _, value in found]).sum())

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

        def is_beyond(
            gradient: Tensor, share: float, mean: Tensor = mean, direction: Tensor = direction, cut: float = cut
        ) -> bool:
            return float((gradient - share * mean) @ direction) > share * cut

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
        # What is assigned without a fold goes where the gradients of the other folds say.
        views = assignment.views(torch.tensor(active))
        moving = torch.zeros_like(views, dtype=torch.bool)
        for row, e in enumerate(active):
            moving[row, -1] = e in movers
            for view, interactions in enumerate(_without_each_fold(objective, entity_of, e, views.shape[1] - 1)):
                if len(interactions) and int(views[row, view]) == cluster:
                    gradient, _ = own_gradient(objective, tables, interactions)
                    share = 1.0 - 1.0 / assignment.num_folds
                    moving[row, view] = is_beyond(gradient, share) != (movers is stay)
        proposals.append((-score, cluster, active, moving))

    free = [k for k in range(assignment.max_clusters) if assignment.members[k] == 0]
    proposals.sort(key=lambda proposal: proposal[:2])
    for (_, parent, active, moving), child in zip(proposals[: max_splits or None], free):
        told = assignment.views(torch.tensor(active))
        assignment.move(torch.tensor(active), torch.where(moving, child, told))
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
) -> None:
    """Move every entity to its best cluster, in place.

    With ``candidates = None`` the model is run for every entity and cluster. With a number, only so many
    clusters are tried that look best to first order, and better by half of ``gain``. Being in a cluster with
    the share s of all entities costs ``-prior * log(s)``. Levels are reassigned one after the other. What is
    assigned without a fold is decided by the other folds' interactions.
    """
    assignment = tables[0].assignment
    folds = assignment.num_folds if assignment.num_folds > 1 else 0
    alive = [k for k in range(assignment.max_clusters) if assignment.members[k] > 0]
    size = assignment.num_entities + len(alive)
    price = {k: -prior * math.log((int(assignment.members[k]) + 1) / size) for k in alive}

    def best_cluster(entity: Tensor, own_cluster: int, interactions: Tensor) -> int:
        wanted = objective.targets(interactions)

        def true_loss(cluster: int) -> float:
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
                return best
        return own_cluster

    targets = assignment.views(torch.arange(assignment.num_entities))
    for entity in entity_of.unique():
        everything = (entity_of == entity).nonzero().squeeze(1)
        for view, interactions in enumerate(
            [*_without_each_fold(objective, entity_of, int(entity), folds), everything]
        ):
            if len(interactions):
                targets[entity, view] = best_cluster(entity, int(targets[entity, view]), interactions)
    assignment.move(torch.arange(len(targets)), targets)


def _without_each_fold(objective: Objective, entity_of: Tensor, entity: int, folds: int) -> list[Tensor]:
    """For each fold, the entity's interactions in the other folds."""
    if not folds:
        return []
    interactions = (entity_of == entity).nonzero().squeeze(1)
    fold = objective.folds(folds)[interactions]
    return [interactions[fold != one] for one in range(folds)]
