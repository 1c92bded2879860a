"""Split and reassignment, written to be read: one cluster, one entity and one candidate at a time.

The fast implementations in ``split.py`` and ``reassignment.py`` are tested to agree with these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from .cross_fitting import CALIBRATION_GAIN
from .gpca import RELATIVE_VARIANCE
from .objective import Objective, loss_slope
from .probe import shared_rows
from .quadratic import MIN_REACH
from .reassignment import ROUNDING, SCREENING
from .shrinkage import EVIDENCE, FROM_NEXT_KIND, NUM_KINDS, STRENGTHS


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
    levels: Sequence[Sequence[ClusteredEmbedding]] = (),
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
        expansions = {e: Expansion(objective, levels or [tables], entity_of, e) for e in active}
        loss = sum(float(expansion.losses.sum()) for expansion in expansions.values())
        gradients = torch.stack([expansions[e].gradient(-1) for e in active])

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
            for view in range(assignment.num_folds if assignment.num_folds > 1 else 0):
                expansion = expansions[e]
                if not expansion.inside(view).any() or int(told[row, view]) != cluster:
                    continue
                if expansion.inside(view).all():  # no interaction is trained with this view
                    moves = e in movers
                else:
                    projection = float((expansion.gradient(view) - share * mean) @ direction)
                    moves = (projection > share * cut) != (movers is stay)
                if moves:
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


class Expansion:
    """The losses of one entity's interactions to second order in the entity's row.

    Args:
        objective: the training loss.
        levels: all levels of the field's embedding.
        entity_of: shape ``(n,)``, each interaction's entity.
        entity: the entity.

    Attributes:
        losses: shape ``(B,)``, of its interactions.
    """

    def __init__(
        self,
        objective: Objective,
        levels: Sequence[Sequence[ClusteredEmbedding]],
        entity_of: Tensor,
        entity: int,
    ) -> None:
        interactions = (entity_of == entity).nonzero().squeeze(1)
        self._levels, self._entity = levels, entity
        folds = levels[0][0].assignment.num_folds
        self._fold = objective.folds(folds)[interactions] if folds > 1 else torch.full_like(interactions, -1)
        targets = objective.targets(interactions)
        outputs, self._jacobian = first_order(objective, levels[0], interactions)
        self.losses = objective.loss(outputs, targets).double()
        self._objective, self._outputs, self._targets = objective, outputs, targets
        self._trained = torch.stack([self.row(int(view)) for view in self._fold])
        self._first_rows = {view: self.row(view) for view in range(-1, folds)}

    @cached_property
    def _bends(self) -> Tensor:
        """Second derivative of each loss by its output, a mean as far as the rows reach."""
        rows = [shared_rows(level)[level[0].assignment.members > 0] for level in self._levels]
        centre_row = torch.stack([of_level.mean(dim=0) for of_level in rows]).sum(dim=0)
        bends = []
        for output, target, derivative, row in zip(self._outputs, self._targets, self._jacobian, self._trained):
            variance = sum(float((of_level @ derivative).var(unbiased=False)) for of_level in rows)
            reach = max(MIN_REACH, math.sqrt(variance))
            centre = output + derivative @ (centre_row - row)
            above, below = (loss_slope(self._objective, centre + step, target) for step in (reach, -reach))
            bends.append((above - below) / (2 * reach))
        return torch.stack(bends)

    def row(self, view: int) -> Tensor:
        """The row of one of the entity's views."""
        parts = []
        for tables in self._levels:
            cluster = tables[0].assignment.views(torch.tensor([self._entity]))[0, view]
            parts.append(shared_rows(tables)[cluster])
        return torch.stack(parts).sum(dim=0)

    def inside(self, view: int) -> Tensor:
        """Which interactions are in the view, bool, shape ``(B,)``."""
        return (self._fold != view) | (view == -1)

    def slopes(self, view: int) -> Tensor:
        """Derivative of each loss by its output, where the entity had the view's row at first, shape ``(B,)``."""
        outputs = self._outputs + ((self._first_rows[view] - self._trained) * self._jacobian).sum(dim=1)
        return loss_slope(self._objective, outputs, self._targets)

    def gradient(self, view: int) -> Tensor:
        """Gradient of the view's summed loss by its row."""
        slopes = self.slopes(view) * self.inside(view)
        return (slopes.unsqueeze(1) * self._jacobian).double().sum(dim=0)

    def losses_with(self, view: int, row: Tensor) -> Tensor:
        """Loss of each interaction with this row in place of the view's, up to a constant, shape ``(B,)``."""
        steps = self._jacobian @ (row - self._first_rows[view])
        return self.slopes(view) * steps + self._bends * steps.square() / 2


class ViewLosses(NamedTuple):
    """One view: its number of interactions, and losses under each cluster, of its own and of those left out.

    ``within`` has shape ``(K,)`` and is summed; ``outside`` has shape ``(K, B)``.
    """

    evidence: int
    within: Tensor
    outside: Tensor

    @property
    def kind(self) -> int:
        """Which amount of evidence it has."""
        return sum(self.evidence >= edge for edge in EVIDENCE)


def reference_shrinkage(
    views: dict[tuple[int, int], ViewLosses], folds: int, clusters: int
) -> tuple[Callable[[int, int], Tensor], Callable[[int], int]]:
    """What views add to their losses, told by the folds that other views leave out.

    Args:
        views: by entity and left-out fold.
        folds: number of folds; a view that leaves out none has this number.
        clusters: number of clusters K.

    Returns:
        For a left-out fold and an amount of evidence, what is added, shape ``(K,)``; for a left-out fold, the best
        cluster of entities without evidence.
    """

    def others(hidden: frozenset[int], kind: int) -> list[tuple[int, ViewLosses]]:
        return [(fold, one) for (_, fold), one in views.items() if fold not in hidden and one.kind == kind]

    @cache
    def mean(hidden: frozenset[int], kind: int) -> Tensor:
        nothing = torch.zeros(clusters, dtype=torch.float64)
        following = mean(hidden, kind + 1) if kind + 1 < NUM_KINDS else nothing
        losses = torch.cat([nothing[:, None][:, :0], *(one.outside for _, one in others(hidden, kind))], dim=1)
        found = (losses.sum(dim=1) + FROM_NEXT_KIND * following) / (losses.shape[1] + FROM_NEXT_KIND)
        return found - found.mean()

    @cache
    def pull(view: int, kind: int) -> Tensor:
        hidden = frozenset({view, folds})

        def score(strength: float) -> float:
            total = 0.0
            for fold, one in others(hidden, kind):
                preferred = (one.within + strength * mean(hidden | {fold}, kind)).argmin()
                total += float(one.outside.sum(dim=1)[preferred])
            return total

        return min(STRENGTHS, key=score) * mean(hidden, kind)

    return pull, lambda view: int(mean(frozenset({view, folds}), 0).argmin())


def reference_reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    entity_of: Tensor,
    gain: float,
    prior: float = 0.0,
    calibration: bool = True,
) -> None:
    """Choose the cluster of every view of every entity, in place.

    A view that leaves nothing out has the clusters of the view with everything.
    """
    folds = levels[0][0].assignment.num_folds
    expansions = {e: Expansion(objective, levels, entity_of, e) for e in entity_of.unique().tolist()}
    for tables in levels:
        assignment = tables[0].assignment
        weight = shared_rows(tables)
        alive = [k for k in range(assignment.max_clusters) if assignment.members[k] > 0]
        size = assignment.num_entities + len(alive)
        price = {k: -prior * math.log((int(assignment.members[k]) + 1) / size) for k in alive}
        told = assignment.views(torch.arange(assignment.num_entities))
        views: dict[tuple[int, int], ViewLosses] = {}
        for entity, expansion in expansions.items():
            for view in range(folds + 1):
                inside = expansion.inside(view if view < folds else -1)
                if view < folds and inside.all():
                    continue
                current = int(told[entity, view])
                base = expansion.row(view if view < folds else -1) - weight[current]
                losses = torch.stack(
                    [expansion.losses_with(view if view < folds else -1, base + weight[k]).double() for k in alive]
                )
                within = losses[:, inside].sum(dim=1) + torch.tensor([price[k] for k in alive])
                within[alive.index(current)] -= gain
                views[entity, view] = ViewLosses(int(inside.sum()), within, losses[:, ~inside])
        pull, usual = reference_shrinkage(views, folds, len(alive))

        def preferred(entity: int, view: int, views: Any = views, pull: Any = pull) -> int:
            """Position in ``alive`` of what the view prefers; 0 without evidence."""
            one = views[entity, view]
            if not one.evidence:
                return 0
            return int((one.within + (pull(view, one.kind) if calibration else 0.0)).argmin())

        def chosen(
            view: int,
            kind: int,
            best: int,
            views: Any = views,
            usual: Any = usual,
            alive: list[int] = alive,
            preferred: Any = preferred,
        ) -> int:
            """Where views go that leave out this fold, have so much evidence and prefer the cluster."""
            stay = best if kind else usual(view)
            total = torch.zeros(len(alive), dtype=torch.float64)
            for (entity, fold), one in views.items():
                if fold not in (view, folds) and one.kind == kind and preferred(entity, fold) == best:
                    total += one.outside.sum(dim=1)
            return int(total.argmin()) if float(total[stay] - total.min()) > CALIBRATION_GAIN else stay

        for entity in range(assignment.num_entities):
            if entity not in expansions:
                if calibration:
                    told[entity] = alive[chosen(folds, 0, 0)]
                continue
            before = told[entity].clone()
            for view in range(folds + 1):
                followed = view if (entity, view) in views else folds
                kind = views[entity, followed].kind
                if calibration:
                    told[entity, view] = alive[chosen(followed, kind, preferred(entity, followed))]
                else:
                    told[entity, view] = alive[preferred(entity, followed)] if kind else before[followed]
        assignment.move(torch.arange(len(told)), told)
