import pytest
import torch
from factorisation import Problem
from reference.paper import reference_reassign
from written import reassign

from recbole_cel.evidence.probe import is_linear_in_row


@pytest.mark.parametrize("gain", [0.0, 0.3, 2.0])
def test_closed_form_equals_running_every_cluster(gain):
    for seed in range(5):
        fast, plain = Problem(seed, start=6), Problem(seed, start=6)
        done = reassign(fast.objective, [fast.tables], fast.index, gain, candidates=0)
        reference_reassign(plain.objective, plain.tables, plain.users, gain)
        assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
        assert done.moved > 0 or gain == 2.0
        assert done.loss_after == pytest.approx(float(fast.loss_of_users().sum()), rel=1e-4)


@pytest.mark.parametrize("gain", [0.0, 0.3])
@pytest.mark.parametrize("candidates", [1, 3, 8])
def test_checked_candidates_equal_the_reference(candidates, gain):
    moved = 0
    for seed in range(5):
        fast, plain = Problem(seed, start=6, mlp=True), Problem(seed, start=6, mlp=True)
        before = float(fast.loss_of_users().sum())
        done = reassign(fast.objective, [fast.tables], fast.index, gain, candidates)
        reference_reassign(plain.objective, plain.tables, plain.users, gain, candidates)
        assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
        assert done.loss_before == pytest.approx(before, rel=1e-4)
        assert done.loss_after == pytest.approx(float(fast.loss_of_users().sum()), rel=1e-4)
        moved += done.moved
    assert moved > 0


def test_the_number_of_passes_does_not_depend_on_the_number_of_clusters():
    passes = {}
    for clusters in (4, 32):
        problem = Problem(0, users=200, n=2000, clusters=clusters, start=clusters, mlp=True)
        seen = []
        run = problem.objective.outputs
        problem.objective.outputs = lambda rows, run=run, seen=seen: (seen.append(len(rows)), run(rows))[1]
        reassign(problem.objective, [problem.tables], problem.index, 0.0, candidates=3)
        passes[clusters] = sum(seen) / 2000
    assert max(passes.values()) <= 1 + 3


def test_idle_entities_stay_and_empty_clusters_get_nobody():
    problem = Problem(1, start=6, idle=7)
    before = problem.assignment.clusters()
    third = (problem.assignment.clusters() == 3).nonzero().squeeze(1)
    problem.assignment.move(third, torch.zeros_like(third))
    reassign(problem.objective, [problem.tables], problem.index, 0.0, 0)
    assert (problem.assignment.clusters()[[0, 1, 2, 4, 5, 6]] == before[[0, 1, 2, 4, 5, 6]]).all()
    assert problem.assignment.members[3] == 0


def test_entities_of_equal_rows_do_not_move():
    problem = Problem(2, start=6)
    with torch.no_grad():
        for table in problem.tables:
            table.weight[:] = table.weight[0]
    assert reassign(problem.objective, [problem.tables], problem.index, 0.0, 0).moved == 0


@pytest.mark.parametrize(("mlp", "linear"), [(False, True), (True, False)])
def test_linearity_is_found_by_trying_and_leaves_no_trace(mlp, linear):
    problem = Problem(3, start=6, mlp=mlp)
    rows = [table.weight.detach().clone() for table in problem.tables]
    chunk = next(problem.index.chunks(torch.arange(2, 40), 256))
    assert is_linear_in_row(problem.objective, problem.tables, chunk) is linear
    assert all(torch.equal(a, table.weight) for a, table in zip(rows, problem.tables))


@pytest.mark.parametrize("mlp", [False, True])
def test_kept_entities_stay_and_the_others_move_as_ever(mlp):
    fast, plain, free = (Problem(4, start=6, mlp=mlp) for _ in range(3))
    before = fast.assignment.clusters()
    reassign(free.objective, [free.tables], free.index, 0.0, 3)
    moving = (free.assignment.clusters() != before).nonzero().squeeze(1)
    keep = torch.zeros(40, dtype=torch.bool)
    keep[moving[::2]] = True
    done = reassign(fast.objective, [fast.tables], fast.index, 0.0, 3, keep=keep)
    reference_reassign(plain.objective, plain.tables, plain.users, 0.0, 3, keep=keep.nonzero().squeeze(1).tolist())
    assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
    assert torch.equal(fast.assignment.clusters(), torch.where(keep, before, free.assignment.clusters()))
    assert done.moved == len(moving) - int(keep.sum()) > 0
    assert done.loss_after == pytest.approx(float(fast.loss_of_users().sum()), rel=1e-4)
