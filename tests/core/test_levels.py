from functools import partial

import pytest
import torch
from factorisation import Factorisation, Problem
from reference.paper import reference_reassign
from written import reassign

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import (
    AdditiveEmbedding,
    ClusterAssignment,
    ClusteredEmbedding,
    additive,
    clustered_tables,
    cross_fitted,
    fold_of,
    levels_of,
    shared_assignments,
)
from recbole_cel.embedding.additive import look_up
from recbole_cel.embedding.assignment import look_up_levels
from recbole_cel.embedding.packed_codes import PackedCodes
from recbole_cel.embedding.slots import record_slots
from recbole_cel.options import SettingError
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import get_strategy
from recbole_cel.strategies.budget import FieldBudget


class TwoLevels(Factorisation):
    """The factorisation, whose users have two levels of clusters."""

    def __init__(self, users: int, items: int, clusters: int, dim: int = 3, mlp: bool = False, start: int = 1):
        super().__init__(users, items, clusters, dim, mlp, start)
        second = ClusterAssignment(users, clusters, start)
        second.move(torch.arange(users), torch.arange(users) // 2 % start)
        self.user = AdditiveEmbedding([self.user, ClusteredEmbedding(second, dim, std=0.5)])
        self.user_bias = AdditiveEmbedding([self.user_bias, ClusteredEmbedding(second, 1, std=0.5)])


class TwoLevelProblem(Problem):
    """The problem, with the levels of the users' tables."""

    def __init__(self, seed: int, clusters: int = 8, **options):
        super().__init__(seed, clusters=clusters, **options)
        torch.manual_seed(seed)
        self.model = self.objective.module = TwoLevels(40, 30, clusters, **options)
        self.tables = [self.model.user, self.model.user_bias]
        self.levels = [list(level) for level in zip(*map(levels_of, self.tables))]

    def clusters(self) -> torch.Tensor:
        return torch.stack([level[0].assignment.clusters() for level in self.levels])


def levels_with_choices(**options):
    """Three levels of different sizes, with folds; the last is small."""
    torch.manual_seed(0)
    assignments = [ClusterAssignment(40, clusters, folds=3) for clusters in (300, 9, 2)]
    for assignment in assignments:
        assignment.move(torch.arange(40), torch.randint(assignment.max_clusters, (40, 4)))
    first, *others = (ClusteredEmbedding(assignment, 5, std=0.5) for assignment in assignments)
    return [ClusteredEmbedding(first.assignment, 5, std=0.5, **options), *others]


@pytest.mark.parametrize("options", [{}, {"gradient_averaging": True}, {"personalisation": True}])
@pytest.mark.parametrize("shape", [(), (7,), (7, 4), (0,)])
@pytest.mark.parametrize("folds", [False, True])
def test_rows_of_the_levels_add_up(options, shape, folds):
    levels = levels_with_choices(**options)
    ids, weights = torch.randint(40, shape), torch.randn(*shape, 5)
    table = AdditiveEmbedding(levels).train(folds and bool(shape))
    fold = torch.randint(3, shape[:1]) if table.training else None
    rows = table(ids, fold)
    expected = levels[0](ids, fold) + levels[1](ids, fold) + levels[2](ids, fold)
    assert rows.shape == expected.shape and torch.allclose(rows, expected, atol=1e-6)
    found, wanted = (
        torch.autograd.grad((some * weights).sum(), [level.weight for level in levels])
        for some in (rows, expected)
    )
    assert all(map(partial(torch.allclose, atol=1e-5), found, wanted))
    assert levels_of(levels[0]) == [levels[0]]


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("recorded", [(), (0,), (0, 1)])
@pytest.mark.parametrize("at_once", [None, True])
def test_several_tables_are_looked_up_as_one_after_the_other(width, recorded, at_once, monkeypatch):
    if at_once is not None:
        monkeypatch.setattr(additive, "_all_at_once", lambda rows: at_once)  # as on a GPU
    torch.manual_seed(1)
    tables = []
    for sizes in ((9,), (300, 2, 7), (4, 4)):
        assignments = [ClusterAssignment(40, size, size) for size in sizes]
        tables.append(AdditiveEmbedding([ClusteredEmbedding(one, width, std=0.5) for one in assignments]))
    ids, weights = [torch.randint(40, (12,)) for _ in tables], torch.randn(12, 3, width)
    parameters = [parameter for table in tables for parameter in table.parameters()]
    with record_slots([tables[number].levels[0] for number in recorded]) as slots:
        rows = look_up(tables, ids)
        (rows * weights).sum().backward()
    for number, (slot,) in zip(recorded, slots.values()):
        assert torch.allclose(slot.rows.grad, weights[:, number])
    expected = torch.stack([sum(level(some) for level in levels_of(t)) for t, some in zip(tables, ids)], dim=1)
    assert torch.allclose(rows, expected, atol=1e-6)
    wanted = torch.autograd.grad((expected * weights).sum(), parameters)
    cut_off = [tables[number].levels[0].weight for number in recorded]
    for parameter, gradient in zip(parameters, wanted):
        if any(parameter is one for one in cut_off):
            assert parameter.grad is None
        else:
            assert torch.allclose(parameter.grad, gradient, atol=1e-5)


def test_levels_of_one_field_and_fold_are_looked_up_together():
    levels = levels_with_choices()
    fold = torch.arange(40) % 3
    together = look_up_levels([level.assignment for level in levels], torch.arange(40), fold)
    views = torch.stack([level.assignment.views(torch.arange(40)) for level in levels])
    assert torch.equal(together.by_level(), views[:, torch.arange(40), fold])
    assert torch.equal(together.by_id(), together.by_level().T)


def test_ids_are_looked_up_once_a_batch_and_again_where_they_or_codes_change(monkeypatch):
    levels = shared_assignments(50, [4, 4], [4, 4], folds=3)
    rows, biases = (AdditiveEmbedding([ClusteredEmbedding(one, width) for one in levels]) for width in (3, 1))
    made = []
    look_up_codes = PackedCodes.look_up
    monkeypatch.setattr(
        PackedCodes, "look_up", lambda self, *place: made.append(place) or look_up_codes(self, *place)
    )
    ids, others = torch.randint(50, (20,)), torch.randint(50, (20,))

    def expected(table, some, folds):
        chosen = [level.assignment.views(some)[torch.arange(20), folds] for level in table.levels]
        return sum(level.weight[one] for level, one in zip(table.levels, chosen))

    with cross_fitted([ids, others]):
        folds = fold_of([ids, others], 3)
        for number, some in enumerate((ids, others, ids.clone()), 1):
            for table in (rows, biases):
                assert torch.equal(table(some), expected(table, some, folds))
            assert len(made) == min(number, 2)
        changed = ids.clone()
        rows(changed)
        changed.copy_(others.flip(0))
        assert torch.equal(rows(changed), expected(rows, changed, folds)), "changed in place"
        for level in levels:
            level.move(torch.arange(50), torch.randint(4, (50, 4)))
        assert torch.equal(rows(ids), expected(rows, ids, folds)), "codes have changed"
        loss = rows(ids).square().sum() + biases(ids).square().sum()
        loss.backward()
        found = [level.weight.grad.clone() for table in (rows, biases) for level in table.levels]
        rows.zero_grad(), biases.zero_grad()
        sum(expected(table, ids, folds).square().sum() for table in (rows, biases)).backward()
        for one, table_level in zip(found, [*rows.levels, *biases.levels]):
            assert torch.allclose(one, table_level.weight.grad, atol=1e-6)
    number = len(made)
    with cross_fitted([ids, others]):
        rows(ids)
    assert len(made) == number + 1, "another batch looks up for itself"


@pytest.mark.parametrize("change", ["move", "extend", "load"])
def test_codes_tell_that_they_have_changed(change):
    codes = shared_assignments(9, [4], [2])[0].codes
    other = shared_assignments(9, [4], [3])[0].codes
    before = codes.version
    if change == "move":
        codes.put(0, torch.arange(9), torch.zeros(9, dtype=torch.int64))
    elif change == "extend":
        codes.extend(10, like=0)
    else:
        codes.load_state_dict(other.state_dict())
    assert codes.version > before


def test_tables_made_without_gradients_can_be_looked_up():
    with torch.inference_mode():
        table = AdditiveEmbedding([ClusteredEmbedding(one, 3) for one in shared_assignments(9, [4], [2], 2)])
        with cross_fitted([torch.arange(9)]):
            assert table(torch.arange(9)).shape == (9, 3)
        assert table.eval()(torch.arange(9)).shape == (9, 3)


def test_levels_must_be_of_one_size():
    tables = [ClusteredEmbedding(ClusterAssignment(9, 2), dim) for dim in (2, 3)]
    with pytest.raises(ValueError, match="one size, got 9 x 2, 9 x 3"):
        AdditiveEmbedding(tables)
    with pytest.raises(ValueError, match="no level"):
        AdditiveEmbedding([])


@pytest.mark.parametrize(("mlp", "candidates"), [(False, 0), (False, 3), (True, 1), (True, 3)])
def test_levels_are_reassigned_as_one_after_the_other(mlp, candidates):
    for seed in range(5):
        fast, plain = TwoLevelProblem(seed, start=6, mlp=mlp), TwoLevelProblem(seed, start=6, mlp=mlp)
        before = float(fast.loss_of_users().sum())
        done = reassign(fast.objective, fast.levels, fast.index, 0.1, candidates)
        moved = torch.zeros(40, dtype=torch.bool)
        for tables in plain.levels:
            old = tables[0].assignment.clusters()
            reference_reassign(plain.objective, tables, plain.users, 0.1, candidates or None)
            moved |= old != tables[0].assignment.clusters()
        assert torch.equal(fast.clusters(), plain.clusters())
        assert done.moved == int(moved.sum()) > 0
        assert done.loss_before == pytest.approx(before, rel=1e-4)
        assert done.loss_after == pytest.approx(float(fast.loss_of_users().sum()), rel=1e-4)


def test_a_level_grows_when_the_one_before_is_grown():
    problem = TwoLevelProblem(0, clusters=4)
    clusters = ClusterOptimiser(
        {"user": problem.tables},
        problem.objective,
        ClusterSettings(split_count=1, split_gain=0),
        steps_per_epoch=1,
    )
    events = [clusters.split("user") for _ in range(7)]
    # In the end there is no room.
    assert [event.level for event in events] == [1, 1, 1, 2, 2, 2, 0]
    assert [event.clusters_after for event in events] == [3, 4, 5, 6, 7, 8, 8]
    assert "user split of level 2" in str(events[4])


def test_a_level_that_cannot_grow_makes_way_for_the_next():
    """All users of the first level's only splittable cluster pull alike there, not in the second level."""
    problem = TwoLevelProblem(0, clusters=4, start=2)
    first = problem.levels[0][0].assignment
    first.move(torch.arange(40), torch.arange(40).clamp(min=37) - 37)
    first.move(torch.arange(38), torch.zeros(38, dtype=torch.int64))
    problem.objective.columns["user"] = problem.users = problem.users.clamp(min=37)
    settings = ClusterSettings(split_gain=0)
    clusters = ClusterOptimiser({"user": problem.tables}, problem.objective, settings, steps_per_epoch=1)
    assert first.num_clusters == 3
    assert clusters.split("user").level == 2


def test_tables_of_a_field_are_made_together():
    tables = clustered_tables(50, [3, 1], rows=11, levels=4, folds=2, initial_clusters=2)
    first, second = (levels_of(table) for table in tables)
    assert [level.embedding_dim for level in (*first, *second)] == [3] * 4 + [1] * 4
    assert [level.assignment for level in first] == [level.assignment for level in second]
    assert [level.assignment.max_clusters for level in first] == [3, 3, 3, 2]
    assert [level.assignment.num_clusters for level in first] == [2, 1, 1, 1]
    assert [bool(level.weight.any()) for level in first] == [True, False, False, False]
    for rows, levels in ((3, 4), (3, 0)):
        with pytest.raises(ValueError, match=f"at most as many as rows, 3; got {levels}"):
            clustered_tables(50, [3], rows=rows, levels=levels)
    with pytest.raises(ValueError, match=r"widths must be at least 1, got \[3, 0\]"):
        clustered_tables(50, [3, 0], rows=8)


@pytest.mark.parametrize("limit", [{"parameters": 40.0}, {"bytes": 400.0}])
def test_more_clusters_at_the_start_than_a_budget_leaves_are_refused(limit):
    settings = CELSettings(initial_clusters=40)
    with pytest.raises(SettingError, match="cel_initial_clusters is 40, more than .* embedding_budget leaves"):
        get_strategy("cel")(FieldBudget("u", 100, (4,), **limit), settings)


def test_tables_of_a_field_must_share_every_level():
    problem = TwoLevelProblem(0)
    for other in (problem.levels[0][0], TwoLevelProblem(0).model.user_bias):
        with pytest.raises(ValueError, match="for each level"):
            ClusterOptimiser(
                {"user": [problem.model.user, other]}, problem.objective, ClusterSettings(), steps_per_epoch=1
            )


@pytest.mark.parametrize(("mlp", "candidates"), [(False, 0), (False, 3), (True, 3)])
def test_a_prior_keeps_entities_in_common_clusters(mlp, candidates):
    common = {}
    for prior in (0.0, 0.5, 100.0):
        common[prior] = 0
        for seed in range(3):
            fast, plain = Problem(seed, start=6, mlp=mlp), Problem(seed, start=6, mlp=mlp)
            for problem in (fast, plain):
                problem.assignment.move(torch.arange(20), torch.zeros(20, dtype=torch.int64))
            reassign(fast.objective, [fast.tables], fast.index, 0.1, candidates, entropy=prior)
            reference_reassign(plain.objective, plain.tables, plain.users, 0.1, candidates or None, prior)
            assert torch.equal(fast.assignment.clusters(), plain.assignment.clusters())
            common[prior] += int(fast.assignment.members[0])
    assert common[0.0] < common[0.5] < common[100.0] >= 3 * 38
