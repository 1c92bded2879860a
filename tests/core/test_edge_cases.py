"""Edge cases, on which the fast implementations and the readable reference must agree."""

import pytest
import torch
from factorisation import Problem
from reference.paper import reference_reassign, reference_split
from written import apply_split, reassign

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.paper import reassignment
from recbole_cel.clustering.paper import split as split_module
from recbole_cel.clustering.paper.split import propose_split
from recbole_cel.evidence import ModuleObjective
from recbole_cel.evidence.grouping import InteractionsByEntity


def entity_without_interactions():
    return Problem(0, idle=15)


def all_gradients_equal():
    problem = Problem(1)
    users, items, labels = torch.arange(10, 20).repeat(4), torch.zeros(40, dtype=torch.int64), torch.ones(40)
    problem.users = users
    problem.objective.columns.update(user=users, item=items)
    problem.objective._targets = problem.labels = labels
    problem.index = InteractionsByEntity(users, 40)
    return problem


def projection_of_exactly_zero():
    """Three users, whose gradients are -g, 0 and g: outputs are zero, and the labels 1, 1/2 and 0."""
    problem = Problem(2)
    users, items = torch.tensor([3, 4, 5]), torch.zeros(3, dtype=torch.int64)
    with torch.no_grad():
        for table in problem.tables:
            table.weight.zero_()
        problem.model.item.weight[0] = torch.tensor([2.0, 0.0, 0.0])
    problem.users = users
    problem.objective.columns.update(user=users, item=items)
    problem.objective._targets = problem.labels = torch.tensor([1.0, 0.5, 0.0])
    problem.index = InteractionsByEntity(users, 40)
    return problem


def clusters_of_one():
    problem = Problem(3, users=10, clusters=12, start=10, idle=0)
    return problem


def all_clusters_in_use():
    return Problem(4, clusters=3, start=3)


def empty_clusters():
    problem = Problem(5, clusters=6, start=6)
    for cluster in (1, 4):
        members = (problem.assignment.clusters() == cluster).nonzero().squeeze(1)
        problem.assignment.move(members, torch.zeros_like(members))
    return problem


CASES = [
    entity_without_interactions,
    all_gradients_equal,
    projection_of_exactly_zero,
    clusters_of_one,
    all_clusters_in_use,
    empty_clusters,
]


@pytest.mark.parametrize("threshold", ["zero", "median", "data_median"])
@pytest.mark.parametrize("case", CASES)
def test_split(case, threshold):
    fast, plain = case(), case()
    proposal = propose_split(fast.objective, fast.tables, fast.index, threshold, torch.Generator())
    apply_split(proposal, fast.tables, fast.index, "interactions")
    reference_split(plain.objective, plain.tables, plain.users, threshold=threshold)
    assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(fast.tables, plain.tables))


@pytest.mark.parametrize("case", CASES)
def test_reassignment(case):
    fast, plain = case(), case()
    reassign(fast.objective, [fast.tables], fast.index, 0.05, candidates=0)
    reference_reassign(plain.objective, plain.tables, plain.users, 0.05)
    assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())


@pytest.mark.parametrize("mlp", [False, True])
def test_entities_with_more_interactions_than_are_held_at_once(monkeypatch, mlp):
    monkeypatch.setattr(split_module, "MAX_INTERACTIONS", 7)
    monkeypatch.setattr(reassignment, "MAX_INTERACTIONS", 7)
    seen = []
    for candidates in (0, 3):
        fast, plain = Problem(6, users=12, start=3, mlp=mlp), Problem(6, users=12, start=3, mlp=mlp)
        run = fast.objective.outputs
        fast.objective.outputs = lambda rows, run=run: (seen.append(len(rows)), run(rows))[1]
        if not mlp or candidates:
            reassign(fast.objective, [fast.tables], fast.index, 0.05, candidates)
            reference_reassign(plain.objective, plain.tables, plain.users, 0.05, candidates or None)
        proposal = propose_split(fast.objective, fast.tables, fast.index, "zero", torch.Generator())
        apply_split(proposal, fast.tables, fast.index, "interactions")
        reference_split(plain.objective, plain.tables, plain.users)
        assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
    assert max(seen) <= 7 < int(fast.index.counts.max())


@pytest.mark.parametrize("options", [{"folds": 1, "reassign_candidates": 2}, {"folds": 3}])
def test_without_any_interaction_nothing_moves(options):
    problem = Problem(0, start=3, folds=options["folds"])
    nothing = torch.empty(0, dtype=torch.int64)
    objective = ModuleObjective(problem.model, ["user", "item"], [nothing, nothing], torch.empty(0))
    clusters = ClusterOptimiser({"user": problem.tables}, objective, ClusterSettings(**options), steps_per_epoch=1)
    assert clusters.reassign("user").moved == 0


def test_many_clusters_are_compared_in_portions(monkeypatch):
    """Twenty thousand points and as many clusters would hold gigabytes at once."""
    from recbole_cel.clustering.cross_fitted import growth, points

    generator = torch.Generator().manual_seed(0)
    targets, clusters = torch.randn(500, 4, generator=generator), torch.randn(64, 4, generator=generator)
    present = torch.randint(64, (500,), generator=generator)
    price, weight = torch.rand(64, generator=generator), 1 + torch.rand(500, generator=generator)
    rest = targets - clusters[present]
    once = growth.closest(targets, clusters), points.nearest(rest, clusters, present, price, weight)
    for module in (growth, points):
        monkeypatch.setattr(module, "MAX_DISTANCES", 1000)
    portions = growth.closest(targets, clusters), points.nearest(rest, clusters, present, price, weight)
    assert all(map(torch.equal, once, portions))
    cost = torch.cdist(targets, clusters).square() / 2 + price / weight.unsqueeze(1)
    assert torch.equal(once[1], cost.argmin(dim=1)) and not torch.equal(once[1], once[0])
    assert torch.equal(once[0], torch.cdist(targets, clusters).argmin(dim=1))
