import pytest
import torch
from factorisation import Problem
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings, ModuleObjective, SettingError
from recbole_cel.clustering.reassignment import reassign
from recbole_cel.clustering.reference import reference_reassign, reference_split
from recbole_cel.clustering.split import apply_split, propose_split
from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding, cross_fitted, fold_of


def scatter(problem, seed):
    """Assign everything at random, differently with and without each fold."""
    generator = torch.Generator().manual_seed(seed)
    for table in (problem.model.user, problem.model.item):
        assignment = table.assignment
        shape = (assignment.num_entities, assignment.num_folds + 1)
        views = torch.randint(0, int((assignment.members > 0).sum()), shape, generator=generator)
        assignment.move(torch.arange(assignment.num_entities), views)


def twins(seed, **options):
    pair = [Problem(seed, folds=3, **options) for _ in range(2)]
    for problem in pair:
        scatter(problem, seed)
    return pair


def all_views(problem):
    return problem.assignment.views(torch.arange(problem.assignment.num_entities))


def test_folds_are_even_and_mixed_from_the_ids_alone():
    users, items = torch.arange(30_000) % 300, torch.arange(30_000) // 300
    folds = fold_of([users, items], 4)
    assert torch.bincount(folds).tolist() == pytest.approx([7500] * 4, rel=0.05)
    for ids in (users, items):  # also within every user and every item
        table = torch.zeros(300, 4).index_put_((ids, folds), torch.ones(30_000), accumulate=True)
        table = table[table.sum(1) > 0]
        assert float((table / table.sum(1, keepdim=True)).min()) > 0.05
    some = torch.randperm(30_000)[:100]
    assert torch.equal(fold_of([users[some], items[some]], 4), folds[some])
    assert not torch.equal(fold_of([items, users], 4), folds)


@pytest.mark.parametrize("shape", [(6,), (6, 3)])
def test_an_interaction_looks_up_what_was_assigned_without_its_fold(shape):
    assignment = ClusterAssignment(10, 5, 5, folds=2)
    views = torch.randint(0, 5, (10, 3))
    views[:5, 2] = torch.arange(5)  # every cluster has members
    assignment.move(torch.arange(10), views)
    ids = torch.randint(0, 10, shape)
    folds = torch.tensor([0, 1, 1, 0, 1, 0])
    assert torch.equal(assignment(ids), views[ids, 2])
    with assignment.without(folds):
        for row, fold, found in zip(ids, folds, assignment(ids)):
            assert torch.equal(found, views[row, fold])
    assert torch.equal(assignment(ids), views[ids, 2])


def test_without_folds_nothing_is_stored_or_looked_up_otherwise():
    assignment = ClusterAssignment(10, 5, 5)
    assert assignment.held_out.numel() == 0
    with cross_fitted([assignment], [torch.arange(10)]):
        assert torch.equal(assignment(torch.arange(10)), torch.arange(10) % 5)


def test_clusters_that_lose_all_members_lose_what_was_assigned_without_folds():
    assignment = ClusterAssignment(4, 3, 1, folds=2)
    assignment.move(torch.arange(4), torch.tensor([[1, 1, 1], [1, 2, 2], [2, 1, 2], [0, 0, 0]]))
    assignment.move(torch.tensor([0]), torch.tensor([[1, 1, 0]]))
    assert assignment.views(torch.arange(4)).tolist() == [[0, 0, 0], [2, 2, 2], [2, 2, 2], [0, 0, 0]]


@pytest.mark.parametrize("gain", [0.0, 0.3])
@pytest.mark.parametrize("prior", [0.0, 0.4])
def test_reassignment_with_folds_equals_the_reference(gain, prior):
    for seed in range(4):
        fast, plain = twins(seed, start=6)
        before = float(fast.loss_of_users().sum())
        done = reassign(fast.objective, [fast.tables], fast.index, gain, 0, prior=prior)
        reference_reassign(plain.objective, plain.tables, plain.users, gain, prior=prior)
        assert torch.equal(all_views(fast), all_views(plain))
        assert done.moved > 0
        assert done.loss_before == pytest.approx(before, rel=1e-4)
        if fast.assignment.num_clusters == 6:  # else what names an emptied cluster is replaced
            assert done.loss_after == pytest.approx(float(fast.loss_of_users().sum()), rel=1e-4)


@pytest.mark.parametrize("threshold", ["zero", "median", "data_median"])
def test_split_with_folds_equals_the_reference(threshold):
    moved = 0
    for seed in range(4):
        fast, plain = twins(seed, start=3)
        before = all_views(fast)
        proposal = propose_split(fast.objective, fast.tables, fast.index, threshold, torch.Generator())
        apply_split(proposal, fast.tables, fast.index, "interactions")
        reference_split(plain.objective, plain.tables, plain.users, threshold=threshold)
        assert torch.equal(all_views(fast), all_views(plain))
        changed = before != all_views(fast)
        moved += int(changed[:, :-1].sum())
        # Nothing is decided about a fold by that fold itself, nor from no interaction at all.
        folds = plain.objective.folds(3)
        for fold in range(3):
            idle = torch.bincount(plain.users[folds != fold], minlength=40) == 0
            assert not changed[idle, fold].any()
    assert moved > 0


def test_a_label_has_no_say_in_its_own_fold():
    """Turning the labels of one fold around changes what is assigned with it, not what is assigned without it."""
    found = []
    for turned in (False, True):
        problem = twins(0, start=6)[0]
        fold = problem.objective.folds(3)
        if turned:
            problem.labels[fold == 1] = 1 - problem.labels[fold == 1]
        reassign(problem.objective, [problem.tables], problem.index, 0.0, 0)
        proposal = propose_split(problem.objective, problem.tables, problem.index, "zero", torch.Generator())
        found.append(all_views(problem))
        assert proposal.evident.shape == (40, 4)
    same = (found[0] == found[1]).all(dim=0)
    assert same.tolist() == [False, True, False, False]


def test_labels_that_mean_nothing_are_not_learned():
    """Each user has two interactions with labels by the toss of a coin; only cross-fitting sees through them."""
    loss = {}
    for folds in (1, 4):
        torch.manual_seed(0)
        users = torch.arange(4000) // 2
        labels = torch.randint(0, 2, (4000,)).float()
        items = torch.randint(0, 20, (4000,))
        problem = Problem(0, users=2000, items=20, clusters=8, start=1, idle=0, folds=folds)
        model = problem.model
        objective = ModuleObjective(model, ["user", "item"], [users, items], labels)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        clusters = ClusterOptimiser(
            {"user": problem.tables},
            objective,
            ClusterSettings(reassign_gain=0.1, reassign_candidates=0, folds=folds),
            steps_per_epoch=4,
            optimiser=optimiser,
        )
        for _ in range(15):
            for batch in torch.randperm(4000).split(1000):
                optimiser.zero_grad()
                outputs = objective.training_outputs(users[batch], items[batch])
                nn.functional.binary_cross_entropy_with_logits(outputs, labels[batch]).backward()
                optimiser.step()
                clusters.step()
        fresh = torch.randint(0, 2, (4000,)).float()
        with torch.no_grad():
            loss[folds] = float(nn.functional.binary_cross_entropy_with_logits(model(users, items), fresh))
    assert loss[4] < 0.72 < 1.0 < loss[1]


def test_exact_checks_need_one_fold():
    with pytest.raises(SettingError, match="reassign_candidates must be 0 with 2 folds"):
        ClusterSettings(folds=2, reassign_candidates=3)
    with pytest.raises(ValueError, match="folds must be at least 1"):
        ClusterAssignment(3, 2, folds=0)


def test_what_was_assigned_without_folds_is_saved_and_checked():
    table = ClusteredEmbedding(ClusterAssignment(5, 3, 3, folds=2), 2)
    table.assignment.move(torch.arange(5), torch.randint(0, 3, (5, 3)))
    other = ClusteredEmbedding(ClusterAssignment(5, 3, 3, folds=2), 2)
    state = table.state_dict()
    other.load_state_dict(state)
    assert torch.equal(other.assignment.held_out, table.assignment.held_out)
    state["assignment.held_out"] = torch.full((2, 5), 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="names cluster 3"):
        other.load_state_dict(state)
