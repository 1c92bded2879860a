import pytest
import torch
from factorisation import Problem
from reference.paper import reference_split
from written import apply_split

from recbole_cel.clustering.gpca import fit_cuts
from recbole_cel.clustering.paper.sides import cuts_by
from recbole_cel.clustering.paper.split import propose_split
from recbole_cel.clustering.settings import SPLIT_CRITERIA, SPLIT_THRESHOLDS
from recbole_cel.evidence import ModuleObjective


def split(problem, criterion="interactions", threshold="zero", max_splits=0, **options):
    generator = torch.Generator().manual_seed(0)
    proposal = propose_split(problem.objective, problem.tables, problem.index, threshold, generator, **options)
    return apply_split(proposal, problem.tables, problem.index, criterion, max_splits)


@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize("max_splits", [0, 1])
@pytest.mark.parametrize("threshold", SPLIT_THRESHOLDS)
@pytest.mark.parametrize("criterion", SPLIT_CRITERIA)
def test_fast_split_equals_the_reference(criterion, threshold, max_splits, mlp):
    for seed in range(3):
        fast = Problem(seed, mlp=mlp, start=2)
        plain = Problem(seed, mlp=mlp, start=2)
        for event in range(3):
            split(fast, criterion, threshold, max_splits)
            reference_split(plain.objective, plain.tables, plain.users, criterion, threshold, max_splits)
            assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
            assert all(torch.equal(a.weight, b.weight) for a, b in zip(fast.tables, plain.tables))
            fast.move_rows(event)
            plain.move_rows(event)
        assert fast.assignment.num_clusters > 2


def test_a_split_alone_changes_no_loss():
    problem = Problem(0)
    before = problem.loss_of_users()
    assert split(problem).moved > 0
    assert torch.equal(problem.loss_of_users(), before)


def test_every_eligible_cluster_is_split_in_one_pass_over_the_data():
    problem = Problem(1, start=4)
    visited = []
    run = problem.objective.outputs
    problem.objective.outputs = lambda rows: (visited.append(rows), run(rows))[1]
    assert len(split(problem).parents) == 4
    assert sorted(torch.cat(visited).tolist()) == list(range(len(problem.users)))


def test_entities_without_interactions_stay_with_the_busier_child():
    problem = Problem(2, idle=5)
    split(problem)
    assert (problem.assignment.clusters()[:5] == 0).all()
    counts = problem.index.counts
    assert counts[problem.assignment.clusters() == 0].sum() >= counts[problem.assignment.clusters() == 1].sum()


def test_equal_gradients_are_no_reason_to_split():
    problem = Problem(3)
    problem.users = torch.arange(10, 20).repeat(4)
    problem.objective.columns["user"] = problem.users
    problem.objective.columns["item"] = torch.zeros(40, dtype=torch.int64)
    problem.objective._targets = torch.ones(40)
    problem.index = type(problem.index)(problem.users, 40)
    assert len(split(problem).parents) == 0
    assert problem.assignment.num_clusters == 1


def test_a_projection_of_exactly_zero_stays_in_one_child():
    gradients = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    cuts = fit_cuts(gradients, torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 1, "zero")
    assert cuts.project(gradients, torch.zeros(3, dtype=torch.int64)).tolist() == [-1.0, 0.0, 1.0]
    assert cuts.beyond(gradients, torch.zeros(3, dtype=torch.int64)).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("threshold", "beyond"),
    [("zero", [0, 0, 0, 0, 1]), ("median", [0, 0, 0, 1, 1]), ("data_median", [0, 1, 1, 1, 1])],
)
def test_thresholds(threshold, beyond):
    gradients = torch.tensor([[0.0], [1.0], [2.0], [3.0], [30.0]], dtype=torch.float64)
    interactions = torch.tensor([9, 1, 1, 1, 1])
    groups = torch.zeros(5, dtype=torch.int64)
    cuts = fit_cuts(gradients, interactions, groups, 1, threshold)
    assert cuts.beyond(gradients, groups).int().tolist() == beyond


def test_a_cluster_of_one_is_not_split():
    problem = Problem(4, clusters=8)
    everyone = torch.arange(40)
    problem.assignment.move(everyone, (everyone == 7).long())
    done = split(problem)
    assert done.parents.tolist() == [0]


def test_nothing_happens_when_all_clusters_are_in_use():
    problem = Problem(5, clusters=3, start=3)
    before = problem.assignment.clusters()
    assert len(split(problem).parents) == 0
    assert torch.equal(problem.assignment.clusters(), before)


def test_empty_clusters_are_filled_again_and_never_split():
    problem = Problem(6, clusters=4, start=4)
    ones = (problem.assignment.clusters() == 1).nonzero().squeeze(1)
    problem.assignment.move(ones, torch.zeros_like(ones))
    done = split(problem)
    assert done.children.tolist() == [1]
    assert done.parents.tolist() == [0]  # now the cluster with most interactions


def test_large_clusters_are_cut_from_a_sample_and_completely():
    """With room for four gradients only, most members are sorted by a cut that they did not help to find."""
    problem = Problem(7, users=60, n=2000, start=2)
    clear = torch.arange(60) % 4 < 2
    problem.labels.copy_(clear[problem.users].float())  # two kinds of users, far apart
    split(problem, max_members=4)
    for parent in (0, 1):
        members = (torch.arange(60) % 2 == parent) & (problem.index.counts > 0)
        sides = problem.assignment.clusters()[members]
        assert len(sides.unique()) == 2
        for side in sides.unique():
            assert len(clear[members][sides == side].unique()) == 1


def test_small_clusters_in_bounded_batches_equal_the_reference():
    fast, plain = Problem(8, users=80, clusters=32, start=16), Problem(8, users=80, clusters=32, start=16)
    split(fast, max_members=6)
    reference_split(plain.objective, plain.tables, plain.users)
    assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())


def test_a_table_may_be_looked_up_several_times_for_one_id():
    """A model that asks twice for a row depends on it by the sum of both."""
    twice, once = Problem(9), Problem(9)
    run, run_once = twice.objective.outputs, once.objective.outputs
    twice.objective.outputs = lambda rows: run(rows) + twice.model.user(twice.users[rows]).sum(-1)

    def with_one_lookup(rows):
        found = []
        hook = once.model.user.register_forward_hook(lambda _module, _ids, out: found.append(out))
        outputs = run_once(rows)
        hook.remove()
        return outputs + found[0].sum(-1)

    once.objective.outputs = with_one_lookup
    split(twice), split(once)
    assert torch.equal(twice.model.user.assignment.clusters(), once.model.user.assignment.clusters())
    assert twice.model.user.assignment.num_clusters > 1


@pytest.mark.parametrize(
    ("others", "message"),
    [(lambda users: users + 1, "one id of each"), (lambda users: users[:3], r"ids of shape \(3,\) were")],
)
def test_a_table_may_not_be_looked_up_for_other_ids(others, message):
    problem = Problem(9)
    run = problem.objective.outputs
    problem.objective.outputs = lambda rows: run(rows) + problem.model.user(others(problem.users[rows]) % 40).sum()
    with pytest.raises(ValueError, match=message):
        split(problem)


def test_bisecting_k_means_leaves_every_member_with_the_nearer_mean():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    features[:60] += 4  # a side that the first principal component cuts through
    groups = torch.arange(300) % 3
    cuts = cuts_by("kmeans", features, torch.ones(300, dtype=torch.int64), groups, 3, "zero")
    beyond = cuts.beyond(features, groups)
    for group in range(3):
        members, far = features[groups == group], beyond[groups == group]
        near, away = members[~far].mean(dim=0), members[far].mean(dim=0)
        assert torch.equal((members - away).norm(dim=1) < (members - near).norm(dim=1), far)


def test_members_with_a_larger_mean_loss_are_apart():
    problem = Problem(0, mlp=True)
    counts = problem.index.counts
    losses = torch.zeros(len(counts)).index_add_(0, problem.users, problem.loss_of_users())
    split(problem, by="loss")
    active = counts > 0
    mean = losses[active] / counts[active]
    clusters = problem.assignment.clusters()[active]
    low, high = sorted((mean[clusters == 0], mean[clusters == 1]), key=lambda side: float(side.mean()))
    assert float(low.max()) <= float(high.min())


def test_interactions_count_by_their_weights():
    """Of negatives that are drawn eight times, each counts an eighth."""
    problem = Problem(0, mlp=True)
    generator = torch.Generator().manual_seed(0)
    columns = [problem.users, problem.items]
    weights = torch.where(problem.labels > 0, 1.0, 0.125)
    weighted = ModuleObjective(problem.model, ["user", "item"], columns, problem.labels, weights=weights)
    found = propose_split(weighted, problem.tables, problem.index, "zero", generator, by="loss")
    losses = weights.double() * problem.loss_of_users()
    assert float(found.interactions.sum()) == pytest.approx(float(weights.sum()))
    assert float(found.loss.sum()) == pytest.approx(float(losses.sum()), rel=1e-5)
    sums = torch.zeros(2, len(problem.index.counts), dtype=torch.float64)
    sums.index_add_(1, problem.users, torch.stack([losses, weights.double()]))
    active = problem.index.counts > 0
    mean, beyond = (sums[0] / sums[1])[active], found.beyond[active]
    low, high = sorted((mean[beyond], mean[~beyond]), key=lambda side: float(side.mean()))
    assert float(low.max()) <= float(high.min())


def test_random_sides_are_those_of_the_seed_and_not_those_of_gradients():
    found = []
    for by in ("random", "random", "gradients"):
        problem = Problem(0)
        split(problem, by=by)
        found.append(problem.assignment.clusters())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert 1 < int(found[0].sum()) < len(found[0]) - 1
