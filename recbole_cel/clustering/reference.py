"""Split, growth and reassignment, written to be read: one cluster, one entity and one candidate at a time.

The fast implementations in ``split.py``, ``reassignment.py``, ``growth.py`` and ``cross_fitting.py`` are tested to
agree with these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from ..evidence.gauss_newton import MIN_REACH
from ..evidence.objective import Objective, loss_curvature, loss_slope
from ..evidence.prior import FIRST_DEVIATION, FLOOR, Prior, accelerate
from ..evidence.probe import shared_rows
from ..evidence.whitening import Whitening
from .cross_fitted.choosing import SWEEPS
from .cross_fitted.growth import ROUNDS
from .gpca import RELATIVE_VARIANCE
from .paper.reassignment import ROUNDING, SCREENING
from .settings import ClusterSettings


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

    free = [k for k in range(assignment.max_clusters) if assignment.members[k] == 0]
    proposals.sort(key=lambda proposal: proposal[:2])
    for (_, parent, movers), child in zip(proposals[: max_splits or None], free):
        assignment.move(torch.tensor(movers), torch.full((len(movers),), child))
        with torch.no_grad():
            for table in tables:
                table.weight[child] = table.weight[parent]


def reference_sides(pulls: Tensor, counts: Sequence[int], threshold: str) -> Callable[[Tensor], list[bool]]:
    """Cut members with these ``pulls`` ``(E, D)``; returned is what tells which of some pulls lie beyond."""
    mean = pulls.mean(dim=0)
    centred = pulls - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(pulls))
    if variances[-1] <= RELATIVE_VARIANCE * pulls.square().sum(dim=1).mean():
        return lambda others: [False] * len(others)
    direction = vectors[:, -1]
    if direction[direction.abs().argmax()] < 0:
        direction = -direction

    def project(pull: Tensor) -> float:
        return float((pull - mean) @ direction)

    projections = torch.tensor([project(pull) for pull in pulls], dtype=torch.float64)
    if threshold == "zero":
        cut = 0.0
    elif threshold == "median":
        cut = float(projections.sort().values[(len(pulls) - 1) // 2])
    else:
        reached = 0
        for position in projections.argsort().tolist():
            reached += counts[position]
            cut = float(projections[position])
            if 2 * reached >= sum(counts):
                break
    return lambda others: [project(pull) > cut for pull in others]


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
        return self.row_of(self._levels, self._entity, view)

    @staticmethod
    def row_of(levels: Sequence[Sequence[ClusteredEmbedding]], entity: int, view: int) -> Tensor:
        """The row of one of an entity's views."""
        parts = []
        for tables in levels:
            cluster = tables[0].assignment.views(torch.tensor([entity]))[0, view]
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

    def curvature(self, view: int) -> Tensor:
        """Second derivative of the view's summed loss by its row, shape ``(D, D)``."""
        bends = self._bends * self.inside(view)
        return ((bends.unsqueeze(1) * self._jacobian).T @ self._jacobian).double()

    def left_out_gradient(self, view: int) -> Tensor:
        """Gradient of the summed loss of what the view leaves out, by its row."""
        slopes = self.slopes(view) * ~self.inside(view)
        return (slopes.unsqueeze(1) * self._jacobian).double().sum(dim=0)

    def dispersion(self) -> tuple[float, float]:
        """Sums of squared slopes and of curvatures of the losses by the outputs."""
        slopes = loss_slope(self._objective, self._outputs, self._targets)
        bends = loss_curvature(self._objective, self._outputs, self._targets)
        return float(slopes.square().sum()), float(bends.sum())


def reference_prior(
    gradients: Sequence[Tensor], curvatures: Sequence[Tensor], rows: Sequence[Tensor], dispersion: float
) -> tuple[Tensor, Tensor]:
    """Mean and precision of what the rows of entities ought to be, entity by entity."""
    width = len(rows[0])
    eye = torch.eye(width, dtype=torch.float64)

    def step(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
        expected, spread, likelihoods = [], [], []
        for gradient, curvature, row in zip(gradients, curvatures, rows):
            spread.append((curvature / dispersion + covariance.inverse()).inverse())
            pull = (curvature @ row - gradient) / dispersion + covariance.inverse() @ mean
            expected.append(spread[-1] @ pull)
            likelihood = pull @ expected[-1] + spread[-1].logdet() - mean @ covariance.inverse() @ mean
            likelihoods.append(float(likelihood - covariance.logdet()))
        mean = torch.stack(expected).mean(dim=0)
        outer = [torch.outer(row - mean, row - mean) for row in expected]
        covariance = torch.stack(outer).mean(dim=0) + torch.stack(spread).mean(dim=0) + FLOOR * eye
        return mean, covariance, sum(likelihoods) / len(likelihoods)

    mean, covariance = accelerate(step, torch.zeros(width, dtype=torch.float64), FIRST_DEVIATION**2 * eye)
    return mean, dispersion * covariance.inverse()


NOTHING = torch.empty(0)


@dataclass
class View:
    """One view: where it is, where it ought to be, and what the interactions that it leaves out say."""

    evidence: int
    at: Tensor
    target: Tensor
    left_out: int = 0
    pull: Tensor = NOTHING
    origin: Tensor = NOTHING

    def loss(self, point: Tensor) -> float:
        """Of the interactions that are left out, up to a constant."""
        step = point - self.origin
        return float(self.pull @ step + self.left_out * step @ step / 2)


def reference_reassign_cross_fitted(
    objective: Objective,
    levels: Sequence[Sequence[ClusteredEmbedding]],
    entity_of: Tensor,
    settings: ClusterSettings,
    growing: Sequence[int] = (),
    merging: bool = False,
) -> None:
    """Choose the cluster of every view of every entity in place, and merge and split clusters of some levels.

    A view that leaves nothing out has the clusters of the view with everything.
    """
    folds = levels[0][0].assignment.num_folds
    expansions = {e: Expansion(objective, levels, entity_of, e) for e in entity_of.unique().tolist()}
    wholes = list(expansions.values())
    squares, bends = (sum(values) for values in zip(*(one.dispersion() for one in wholes)))
    curvatures = [one.curvature(-1) for one in wholes]
    mean, precision = reference_prior(
        [one.gradient(-1) for one in wholes], curvatures, [one.row(-1).double() for one in wholes], squares / bends
    )
    whitening = Whitening.of(torch.stack(curvatures).sum(dim=0) / len(entity_of), Prior(mean, precision))

    views: dict[tuple[int, int], View] = {}
    for entity, one in expansions.items():
        for fold in range(folds + 1):
            left_out = fold if fold < folds else -1
            inside = one.inside(left_out)
            if left_out >= 0 and inside.all():
                continue
            row, curvature = one.row(left_out).double(), one.curvature(left_out)
            pull = curvature @ row - one.gradient(left_out) + precision @ mean
            target = torch.linalg.solve(curvature + precision, pull)
            views[entity, fold] = View(int(inside.sum()), whitening.whiten(row), whitening.whiten(target))
            if left_out >= 0:
                views[entity, fold].left_out = int((~inside).sum())
                views[entity, fold].pull = whitening.whiten_gradients(one.left_out_gradient(left_out))
                views[entity, fold].origin = whitening.whiten(row)
    assignments = [tables[0].assignment for tables in levels]

    # All entities without interactions are as this one, which has no view with all.
    idle = (assignments[0].num_entities, folds + 1)
    views[idle] = View(0, mean, whitening.whiten(mean))

    alive = [[k for k in range(a.max_clusters) if a.members[k] > 0] for a in assignments]
    points = [
        [whitening.whiten(shared_rows(tables)[k].double()) for k in ids] for tables, ids in zip(levels, alive)
    ]
    price = []
    for assignment, ids in zip(assignments, alive):
        shares = [(int(assignment.members[k]) + 1) / (assignment.num_entities + len(ids)) for k in ids]
        price.append([-settings.reassign_prior * math.log(share) for share in shares])
    # Views of which nothing is known begin with the first clusters.
    choice = {
        (view, level): alive[level].index(int(assignment.views(torch.tensor([view[0]]))[0, view[1]]))
        if one.evidence
        else 0
        for view, one in views.items()
        for level, assignment in enumerate(assignments)
    }
    for unknown in views.values():
        if not unknown.evidence:
            unknown.at = torch.stack([of_level[0] for of_level in points]).sum(dim=0)

    def put(level: int, moved: Sequence[Tensor], chosen: dict[tuple[int, int], int]) -> None:
        for view, one in views.items():
            one.at = one.at + moved[chosen[view]] - points[level][choice[view, level]]
            choice[view, level] = chosen[view]

    def merge(level: int) -> None:
        here = {view: choice[view, level] for view in views}
        merged, kept, chosen = reference_merge(views, points[level], here, folds)
        put(level, merged, chosen)
        alive[level] = [alive[level][k] for k in kept]
        price[level] = [price[level][k] for k in kept]
        points[level] = merged

    def grow(level: int) -> None:
        # The ids of clusters that are merged are free at the next event only.
        free = [k for k in range(assignments[level].max_clusters) if k not in alive[level]]
        if merging and settings.split_gain:
            merge(level)
        limit = len(points[level]) + len(free)
        here = {view: choice[view, level] for view in views}
        grown, parents, chosen = reference_grow(views, points[level], here, folds, limit, settings)
        alive[level] += free[: len(parents)]
        price[level] += [price[level][parent] for parent in parents]
        put(level, grown, chosen)
        points[level] = grown

    def choose(view: tuple[int, int], level: int) -> None:
        one, present = views[view], points[level][choice[view, level]]
        wanted = one.target - one.at + present
        costs = [
            float((wanted - point).square().sum() / 2) + cost / max(1, one.evidence)
            for point, cost in zip(points[level], price[level])
        ]
        if one.evidence:
            costs[choice[view, level]] -= settings.reassign_gain / one.evidence
        choice[view, level] = costs.index(min(costs))
        one.at = one.at + points[level][choice[view, level]] - present

    for sweep in range(SWEEPS):
        for level in range(len(levels)):
            if sweep == 0 and level in growing:
                grow(level)
            for view in views:
                choose(view, level)

    for level, (tables, assignment) in enumerate(zip(levels, assignments)):
        told = assignment.views(torch.arange(assignment.num_entities))
        for entity in range(assignment.num_entities):
            for fold in range(folds + 1):
                followed = fold if (entity, fold) in views else folds
                view = (entity, followed) if entity in expansions else idle
                told[entity, fold] = alive[level][choice[view, level]]
        rows = whitening.unwhiten(torch.stack(points[level])).float()
        with torch.no_grad():
            for table, part in zip(tables, rows.split([table.embedding_dim for table in tables], dim=1)):
                table.weight[alive[level]] = part
        assignment.move(torch.arange(assignment.num_entities), told)


class Targets:
    """What a level ought to add to views, and what clusters of it gain.

    Attributes:
        targets: what the level ought to add to each view.
    """

    def __init__(
        self,
        views: dict[tuple[int, int], View],
        points: Sequence[Tensor],
        choice: dict[tuple[int, int], int],
        folds: int,
    ) -> None:
        self._views, self._folds = views, folds
        self.targets = {view: views[view].target - views[view].at + points[choice[view]] for view in choice}
        self._rest = {view: views[view].target - self.targets[view] for view in choice}

    def mean(self, some: Sequence[tuple[int, int]]) -> Tensor | None:
        """Of some views, by interactions."""
        weights = [self._views[view].evidence for view in some]
        if not sum(weights):
            return None
        return torch.stack([w * self.targets[view] for w, view in zip(weights, some)]).sum(dim=0) / sum(weights)

    def gain(self, here: set[tuple[int, int]], far: set[tuple[int, int]]) -> float:
        """By how much the loss falls if ``far`` get a row of their own, out of the views that are ``here``."""
        entities = {entity for entity, fold in self.targets if fold == self._folds}
        gain = 0.0
        for entity, fold in sorted(here):
            if fold >= self._folds:
                continue
            without = [(e, fold) if (e, fold) in self.targets else (e, self._folds) for e in sorted(entities)]
            without = [view for view in without if view in here]
            shared = self.mean(without)
            own = self.mean([view for view in without if (view in far) == ((entity, fold) in far)])
            one, base = self._views[entity, fold], self._rest[entity, fold]
            nothing = torch.zeros_like(base)
            gain += one.loss(base + (nothing if shared is None else shared))
            gain -= one.loss(base + (nothing if own is None else own))
        return gain


def reference_merge(
    views: dict[tuple[int, int], View],
    points: list[Tensor],
    choice: dict[tuple[int, int], int],
    folds: int,
) -> tuple[list[Tensor], list[int], dict[tuple[int, int], int]]:
    """Merge pairs of clusters, nearest neighbours of each other, until each gains by being two.

    Returns:
        The points of those that are left; which they are; the choice of each view.
    """
    wanted, choice = Targets(views, points, choice, folds), dict(choice)
    points, kept = list(points), list(range(len(points)))

    def near(cluster: int) -> int:
        others = [k for k in filled if k != cluster]
        return min(others, key=lambda k: float((points[k] - points[cluster]).norm()))

    merged = True
    while merged:
        merged = False
        filled = sorted({cluster for (_, fold), cluster in choice.items() if fold == folds})
        pairs = [(k, near(k)) for k in filled if len(filled) > 1 and k < near(k) and near(near(k)) == k]
        for first, second in pairs:
            far = {view for view in choice if choice[view] == second}
            here = far | {view for view in choice if choice[view] == first}
            if wanted.gain(here, far) > 0:
                continue
            merged = True
            kept.remove(second)
            choice |= dict.fromkeys(far, first)
            centre = wanted.mean([view for view in here if view[1] == folds])
            points[first] = points[first] if centre is None else centre
    return [points[k] for k in kept], kept, {view: kept.index(k) for view, k in choice.items()}


def reference_grow(
    views: dict[tuple[int, int], View],
    points: list[Tensor],
    choice: dict[tuple[int, int], int],
    folds: int,
    limit: int,
    settings: ClusterSettings,
) -> tuple[list[Tensor], list[int], dict[tuple[int, int], int]]:
    """Split clusters of a level until there are ``limit``, or no split pays.

    Returns:
        The points of all clusters; which of the old ones each new one comes from; the choice of each view.
    """
    first, parents = len(points), list[int]()
    wanted = Targets(views, points, choice, folds)
    wholes = [view for view in choice if view[1] == folds]
    limit = min(limit, first + (settings.split_count or limit))

    def settle() -> None:
        for cluster in range(len(points)):
            centre = wanted.mean([view for view in wholes if choice[view] == cluster])
            if centre is not None:
                points[cluster] = centre

    points = list(points)
    while len(points) < limit:
        proposals = []
        for cluster, point in enumerate(points):
            members = [view for view in wholes if choice[view] == cluster]
            here = [view for view in choice if choice[view] == cluster]
            if not members:
                continue
            pulls = torch.stack([wanted.targets[view] - point for view in members])
            beyond = reference_sides(pulls, [views[view].evidence for view in members], settings.split_threshold)
            far = {view for view in here if beyond((wanted.targets[view] - point).unsqueeze(0))[0]}
            gain = wanted.gain(set(here), far)
            both = 0 < len(far.intersection(members)) < len(members)
            if both and (gain > settings.split_gain or not settings.split_gain):
                proposals.append((-sum(views[view].evidence for view in members), cluster, far))
        proposals.sort(key=lambda proposal: proposal[:2])
        proposals = proposals[: limit - len(points)]
        if not proposals:
            break
        for _, cluster, far in proposals:
            for view in far:
                choice[view] = len(points)
            parents.append(cluster if cluster < first else parents[cluster - first])
            points.append(points[cluster])
        settle()
        for _ in range(1 if len(points) < limit else ROUNDS):
            for view in choice:
                distances = [float((wanted.targets[view] - point).square().sum()) for point in points]
                choice[view] = distances.index(min(distances))
            settle()
    return points, parents, choice
