"""The paper's split and reassignment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_cel.embedding import ClusteredEmbedding
from recbole_cel.evidence import Objective

from .gradients import first_order, own_gradient, reference_sides

# Differences of a summed loss below this share of it are rounding. A cluster is tried if it promises this share of
# the gain asked for.
ROUNDING = 1e-6
SCREENING = 0.5


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
        members = [int(e) for e in (assignment.clusters() == cluster).nonzero()]
        active = [e for e in members if (entity_of == e).any()]
        counts = [int((entity_of == e).sum()) for e in active]
        seen = [own_gradient(objective, tables, (entity_of == e).nonzero().squeeze(1)) for e in active]
        if len(active) < 2:
            continue
        gradients, losses = (torch.stack(values) for values in zip(*seen))
        side = reference_sides(gradients, counts, threshold)
        beyond = [e for e, far in zip(active, side(gradients)) if far]
        stay = [e for e in active if e not in beyond]
        if not beyond or not stay:
            continue
        far = sum(c for e, c in zip(active, counts) if e in beyond)
        movers = stay if far > sum(counts) - far else beyond
        score = {
            "interactions": sum(counts),
            "members": len(members),
            "loss": float(losses.sum()),
            "mean_loss": float(losses.sum()) / sum(counts),
            "gradient_norm": float(gradients.norm(dim=1).sum()),
        }[criterion]
        proposals.append((-score, cluster, movers))

    free = [k for k in range(assignment.max_clusters) if not assignment.occupied[k]]
    proposals.sort(key=lambda proposal: proposal[:2])
    for (_, parent, movers), child in zip(proposals[: max_splits or None], free):
        assignment.move(torch.tensor(movers), torch.full((len(movers),), child))
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
    alive = [k for k in range(assignment.max_clusters) if assignment.occupied[k]]
    size = assignment.num_entities + len(alive)
    price = {k: -prior * math.log((int(assignment.members[k]) + 1) / size) for k in alive}
    targets = assignment.clusters().long()
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
