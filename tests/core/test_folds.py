import pytest
import torch
from factorisation import Problem
from reference.prior import Expansion
from torch import nn
from twins import reassign_both, twins
from written import reassign_cross_fitted

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.cross_fitted import policy, reassignment
from recbole_cel.clustering.cross_fitted.points import Cells, Points
from recbole_cel.embedding import (
    AdditiveEmbedding,
    ClusterAssignment,
    ClusteredEmbedding,
    LeakError,
    cross_fitted,
    extend_ids,
    fold_of,
)
from recbole_cel.evidence import ModuleObjective, out_of_fold, squared_error
from recbole_cel.evidence.codebook import Codebook
from recbole_cel.evidence.gauss_newton import Quadratic
from recbole_cel.evidence.grouping import InteractionsByEntity
from recbole_cel.evidence.out_of_fold import CurrentLevels, Views
from recbole_cel.evidence.prior import Prior
from recbole_cel.evidence.probe import probe_chunk
from recbole_cel.evidence.whitening import Whitening
from recbole_cel.options import SettingError


@pytest.fixture
def exact(monkeypatch):
    """Find where views ought to be as exactly as the reference does."""
    monkeypatch.setattr(out_of_fold, "TOLERANCE", 1e-12)
    monkeypatch.setattr(out_of_fold, "MAX_STEPS", 30)
    monkeypatch.setattr(reassignment, "MAX_RISE", float("inf"))


def all_views(problem):
    everyone = torch.arange(problem.tables[0].num_embeddings)
    return torch.stack([tables[0].assignment.views(everyone) for tables in problem.levels])


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
    for row, fold, found in zip(ids, folds, assignment(ids, folds)):
        assert torch.equal(found, views[row, fold])
    assert torch.equal(assignment.eval()(ids), views[ids, 2])
    assert torch.equal(assignment(None), views[:, 2])


def test_what_a_batch_is_trained_with_comes_from_its_ids():
    assignment = ClusterAssignment(10, 5, 5, folds=2)
    assignment.move(torch.arange(10), torch.randint(0, 5, (10, 3)))
    columns = [torch.arange(10), torch.arange(10).flip(0)]
    own = fold_of(columns, 2)
    with cross_fitted(columns):
        assert torch.equal(assignment(columns[1]), assignment(columns[1], own))
        with cross_fitted(columns, fold=1):
            assert torch.equal(assignment(columns[0]), assignment(columns[0], torch.ones_like(own)))
        assert torch.equal(assignment(columns[0]), assignment(columns[0], own))


def test_a_lookup_in_training_that_leaves_nothing_out_is_an_error():
    assignment = ClusterAssignment(10, 5, folds=2)
    table = AdditiveEmbedding([ClusteredEmbedding(assignment, 3), ClusteredEmbedding(assignment, 3)])
    ids = torch.arange(4)
    for some in (ids, None):
        with pytest.raises(LeakError, match="without the folds of the batch"):
            table(some)
        with torch.no_grad():
            assert table(some).shape[1] == 3
    for some in (None, ids.repeat(2)):
        with pytest.raises(LeakError, match="batch of 4 interactions"), cross_fitted([ids]):
            table.eval()(some)
    assert table(None).shape == (10, 3)


def test_without_folds_nothing_is_stored_or_looked_up_otherwise():
    assignment = ClusterAssignment(10, 5, 5)
    assert assignment.codes.words.shape == (1, 10, 1)
    with cross_fitted([torch.arange(10)]):
        assert torch.equal(assignment(torch.arange(10)), torch.arange(10) % 5)


def test_a_cluster_is_free_only_when_nobody_has_it_without_any_fold_either():
    """Otherwise an interaction could look up what was chosen with it."""
    assignment = ClusterAssignment(4, 3, 3, folds=2)
    everyone = torch.arange(4)
    assignment.move(everyone, torch.tensor([[1, 1, 1], [1, 2, 2], [2, 1, 2], [0, 0, 0]]))
    assignment.move(torch.tensor([0]), torch.tensor([[1, 1, 0]]))
    assert assignment.views(everyone).tolist() == [[1, 1, 0], [1, 2, 2], [2, 1, 2], [0, 0, 0]]
    assert assignment.members.tolist() == [2, 0, 2]
    assert assignment.occupied.tolist() == [True] * 3 and assignment.num_clusters == 3
    assignment.move(everyone[:3], torch.tensor([[0, 0, 0], [2, 2, 2], [2, 2, 2]]))
    assert assignment.occupied.tolist() == [True, False, True]


def num_clusters(problem):
    return sum(tables[0].assignment.num_clusters for tables in problem.levels)


def same_rows(pair):
    rows = [torch.cat([table.weight for tables in problem.levels for table in tables], dim=1) for problem in pair]
    return torch.allclose(*rows, atol=2e-3)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("gain", "prior"), [(0.0, 0.4), (0.3, 0.0), (0.2, 0.4)])
def test_reassignment_with_folds_equals_the_reference(gain, prior, levels):
    compared = 0
    for seed in range(6):
        pair = twins(seed, levels, start=3)
        fast = pair[0]
        before, number = float(fast.loss_of_users().sum()), num_clusters(fast)
        done = reassign_both(pair, reassign_gain=gain, reassign_entropy=prior)
        assert torch.equal(*(all_views(problem) for problem in pair))
        assert done.moved > 0
        assert done.loss_before == pytest.approx(before, rel=1e-4)
        # What was assigned without folds and names an emptied cluster is replaced.
        if num_clusters(fast) == number:
            compared += 1
            assert done.loss_after == pytest.approx(float(fast.loss_of_users().sum()), rel=1e-4)
    # With three levels of random codes some cluster is emptied each time.
    assert compared > 0 or levels > 2


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"split_gain": 0.0},
        {"split_threshold": "data_median", "split_gain": 0.3},
        {"split_count": 2},
        {"merging": True},
        {"merging": True, "split_gain": 0.3, "split_count": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("levels", "growing"), [(1, [0]), (2, [1]), (2, [0, 1])])
def test_growth_equals_the_reference(levels, growing, settings):
    split = 0
    for seed in range(3):
        pair = twins(seed, levels, start=3 if settings.get("merging") else 2)
        # Users of two kinds.
        labels = torch.bernoulli((3.0 * (pair[0].users % 2) - 1.5).sigmoid())
        for problem in pair:
            problem.labels.copy_(labels)
        done = reassign_both(pair, growing, **settings)
        assert torch.equal(*(all_views(problem) for problem in pair))
        assert same_rows(pair)
        split += sum(len(parents) for _, parents, _ in done.splits)
        assert {number for number, *_ in done.splits} <= set(growing)
    assert split > 0


@pytest.mark.parametrize("growing", [(), (0, 1)])
def test_portions_of_the_entities_are_decided_alike(growing, monkeypatch):
    """What does not fit into memory at once is decided by the levels as the first portion has grown them."""
    found = []
    for sampled in (reassignment.sample_size, lambda counts, width, folds: 12):
        monkeypatch.setattr(reassignment, "sample_size", sampled)
        monkeypatch.setattr(reassignment, "MAX_NUMBERS", 1 << 11)
        problem = twins(1, 2, start=3)[0]
        run, seen = problem.objective.outputs, []
        problem.objective.outputs = lambda rows, *fold, run=run, seen=seen: (
            seen.append(len(rows)),
            run(rows, *fold),
        )[1]
        generator = torch.Generator().manual_seed(0)
        settings = ClusterSettings(folds=3, split_gain=0.0)
        before = float(problem.loss_of_users().sum())
        done = reassign_cross_fitted(
            problem.objective, problem.levels, problem.index, settings, generator, growing=growing
        )
        assert done.loss_before == pytest.approx(before, rel=1e-4)
        assert done.loss_after == pytest.approx(float(problem.loss_of_users().sum()), rel=1e-3)
        assert len(done.splits) == len(growing)
        found.append(all_views(problem))
    assert len(seen) > 5  # several portions
    assert growing or torch.equal(*found)


def test_the_sample_that_levels_are_grown_by_is_as_large_as_its_views():
    counts = torch.full((100,), 10)
    of_one = 10 * (4 + 2 * 3) + 6 * 3 * 4
    assert reassignment.sample_size(counts, 4, 2) == 100
    few = counts * (reassignment.MAX_SAMPLED // (10 * (4 + 2 * 3)) // 2)
    assert reassignment.sample_size(few, 4, 2) == 1
    assert reassignment.sample_size(counts.repeat(1 << 20), 4, 2) == reassignment.MAX_SAMPLED // of_one


def test_a_label_has_no_say_in_its_own_fold():
    """Turning the labels of one fold around changes where views with it ought to be, not those without it."""
    problem = twins(0, start=6)[0]
    at = [Codebook(tables) for tables in problem.levels]
    (chunk,) = problem.index.chunks(torch.arange(2, 40), 400)
    fold, width = problem.objective.folds(3), at[0].rows.shape[1]
    whitening = Whitening.of(torch.eye(width), Prior(torch.zeros(width), torch.eye(width)))
    start = CurrentLevels.of(at, whitening)
    targets = []
    for _ in range(2):
        seen = probe_chunk(problem.objective, problem.tables, chunk, 400)
        targets.append(Views(problem.objective, start, whitening, chunk, seen).expected())
        problem.labels[fold == 1] = 1 - problem.labels[fold == 1]
    same = (targets[0] - targets[1]).abs().amax(dim=2) < 1e-5
    assert same[:, 1].all()
    assert (~same[:, [0, 2, 3]]).float().mean() > 0.8


@pytest.mark.parametrize(("tolerance", "error"), [(1e-12, 1e-4), (out_of_fold.TOLERANCE, 0.03)])
def test_views_ought_to_be_where_the_reference_says(tolerance, error, monkeypatch):
    monkeypatch.setattr(out_of_fold, "TOLERANCE", tolerance)
    problem = twins(1, 2, start=5)[0]
    few_known(problem)
    generator = torch.Generator().manual_seed(0)
    at = [Codebook(tables) for tables in problem.levels]
    width = at[0].rows.shape[1]
    factor = torch.randn(width, width, generator=generator)
    prior = Prior(torch.randn(width, generator=generator), factor @ factor.T + torch.eye(width))
    whitening = Whitening.of(0.2 * torch.eye(width), prior)
    (chunk,) = problem.index.chunks(torch.arange(38), 400)
    seen = probe_chunk(problem.objective, problem.tables, chunk, 100)
    found = Views(problem.objective, CurrentLevels.of(at, whitening), whitening, chunk, seen)
    rows, moved = whitening.unwhiten(found.expected()), []
    places = Points.of([found], found.exists & (found.evidence > 0), whitening.mean).place
    cells = Cells.of([found], places)
    left_out = whitening.unwhiten_gradients(cells.gradient)
    cell = 0
    for entity in range(38):
        one = Expansion(problem.objective, problem.levels, problem.users, entity)
        for view in range(4):
            leaves_out = view if view < 3 else -1
            if view < 3 and one.inside(view).all():
                assert not found.exists[entity, view] and places[entity, view] == places[entity, 3]
                continue
            curvature, row = one.curvature(leaves_out), one.row(leaves_out).double()
            pull = prior.precision.double() @ (prior.mean - row) - one.gradient(leaves_out)
            step = torch.linalg.solve(curvature + prior.precision, pull)
            moved.append(((rows[entity, view] - row) - step).norm() / step.norm())
            assert found.evidence[entity, view] == one.inside(leaves_out).sum()
            assert torch.allclose(whitening.unwhiten(found.at[entity, view]), row.float(), atol=1e-4)
            if view < 3:
                expected = one.left_out_gradient(view).float()
                assert torch.allclose(left_out[cell], expected, atol=1e-3)
                assert cells.size[cell] == (~one.inside(view)).sum() and cells.fold[cell] == view
                cell += 1
    assert cell == len(cells.size)
    assert torch.stack(moved).mean() < error


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
    with pytest.raises(ValueError, match="folds must lie in 1..64, got"):
        ClusterAssignment(3, 2, folds=0)
    with pytest.raises(ValueError, match="folds must lie in 1..64, got 300"):
        ClusterAssignment(3, 2, folds=300)


def test_what_was_assigned_without_folds_is_saved_and_checked():
    table = ClusteredEmbedding(ClusterAssignment(5, 3, 3, folds=2), 2)
    table.assignment.move(torch.arange(5), torch.randint(0, 3, (5, 3)))
    other = ClusteredEmbedding(ClusterAssignment(5, 3, 3, folds=2), 2)
    state = table.state_dict()
    other.load_state_dict(state)
    everyone = torch.arange(5)
    assert torch.equal(other.assignment.views(everyone), table.assignment.views(everyone))
    assert torch.equal(other.assignment.occupied, table.assignment.occupied)
    words = state["assignment.codes.words"].clone()
    words[1, 4] = 3
    with pytest.raises(ValueError, match=r"names cluster 3 in level 0, but clusters are 0\.\.2"):
        other.load_state_dict({**state, "assignment.codes.words": words})
    assert torch.equal(other.assignment.views(everyone), table.assignment.views(everyone))


def test_reassignment_without_any_interaction_moves_nothing():
    problem = twins(0, 1, start=5)[0]
    before = all_views(problem)
    nothing = torch.empty(0, dtype=torch.int64)
    index = InteractionsByEntity(nothing, 40, nothing, 3)
    generator = torch.Generator().manual_seed(0)
    done = reassign_cross_fitted(problem.objective, problem.levels, index, ClusterSettings(folds=3), generator)
    assert done[:4] == (0, 0.0, 0.0, ())
    assert torch.equal(all_views(problem), before)


def test_losses_of_entities_are_exact_for_a_squared_error():
    problem = twins(0, 2, start=5)[0]
    problem.objective = ModuleObjective(
        problem.model, ["user", "item"], [problem.users, problem.items], problem.labels, squared_error
    )
    at = [Codebook(tables) for tables in problem.levels]
    (chunk,) = problem.index.chunks(torch.arange(2, 40), 400)
    seen = probe_chunk(problem.objective, problem.tables, chunk, 100)
    losses = Quadratic.of_entities(problem.objective, at, chunk, seen)
    for number, one in enumerate(chunk.entities.split(1)):
        of_entity = (problem.users == one).nonzero().squeeze(1)
        first, second = (level.assignment for level in at)
        found, expected = [], []
        for cluster in torch.arange(5).split(1):
            here = first.views(one)[:, -1]
            with first.provisionally(one, here), second.provisionally(one, cluster):
                outputs = problem.objective.outputs(of_entity).detach()
            found.append(problem.objective.loss(outputs, problem.objective.targets(of_entity)).sum())
            row = (at[0].rows[at[0].column[here]] + at[1].rows[cluster])[0]
            expected.append(losses.linear[number] @ row + row @ losses.curvature[number] @ row / 2)
        assert torch.allclose(torch.stack(found) - found[0], torch.stack(expected) - expected[0], atol=1e-3)


@pytest.mark.parametrize("shared", [True, False])
def test_fields_of_a_round_know_of_each_others_moves(shared, monkeypatch):
    if not shared:
        monkeypatch.setattr(policy, "MAX_PROBED", 0)
    problem = twins(2, 1, start=2)[0]
    # Users of two kinds, so that no cluster loses all members.
    problem.labels.copy_(torch.bernoulli((3.0 * (problem.users % 2) - 1.5).sigmoid()))
    fields = {"user": problem.tables, "item": [problem.model.item]}
    settings = ClusterSettings(folds=3, reassign_interval=1, reassign_gain=0.0, split_interval=9)
    runs = []
    run = problem.objective.outputs
    problem.objective.outputs = lambda rows, *fold: (runs.append(len(rows)), run(rows, *fold))[1]
    clusters = ClusterOptimiser(fields, problem.objective, settings, steps_per_epoch=1)
    clusters.split_jointly = list  # which would look at the outputs, too
    user, item = clusters.step()
    assert user.moved > 0 and item.moved > 0 and user.clusters_after == 2
    assert item.loss_before == pytest.approx(user.loss_after, rel=1e-6)
    trials = 4 * 400  # before and after, for both fields
    assert sum(runs) == (400 if shared else 800) + trials
    outputs = run(torch.arange(400)).detach()
    loss = float(problem.objective.loss(outputs, problem.labels).mean())
    # To first order in both.
    assert item.loss_after == pytest.approx(loss, rel=2e-2) and loss < user.loss_before


def test_fields_of_a_round_choose_alike_with_one_pass_or_with_one_each(monkeypatch):
    found = []
    for most in (policy.MAX_PROBED, 0):
        monkeypatch.setattr(policy, "MAX_PROBED", most)
        problem = twins(5, 2, start=3)[0]
        fields = {"user": [problem.model.user, problem.model.user_bias], "item": [problem.model.item]}
        settings = ClusterSettings(folds=3, levels=2, split_gain=0.0)
        clusters = ClusterOptimiser(fields, problem.objective, settings, steps_per_epoch=1)
        for _ in range(3):
            clusters.step()
        found.append([all_views(problem), problem.model.item.assignment.views(torch.arange(30))])
    assert all(map(torch.equal, *found))


def test_an_event_that_fails_at_one_field_changes_none(monkeypatch):
    problem = twins(2, 1, start=2)[0]
    fields = {"user": problem.tables, "item": [problem.model.item]}
    clusters = ClusterOptimiser(fields, problem.objective, ClusterSettings(folds=3), steps_per_epoch=1)
    clusters.split_jointly = list
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    choose, moved = policy.choose_cross_fitted, []

    def fail_at_items(objective, levels, *args, **options):
        if levels[0] == [problem.model.item]:
            raise ValueError("a gradient is not finite")
        done = choose(objective, levels, *args, **options)
        moved.append(done.moved)
        return done

    monkeypatch.setattr(policy, "choose_cross_fitted", fail_at_items)
    with pytest.raises(ValueError, match="not finite"):
        clusters.step()
    assert moved[0] > 0
    assert all(torch.equal(value, before[name]) for name, value in problem.model.state_dict().items())


def few_known(problem):
    """Leave ten users one interaction each, and two none; the folds of the ten."""
    problem.users[problem.users < 10] += 20
    problem.users[problem.users > 37] = 37
    single = torch.arange(10) * 11
    problem.users[single] = torch.arange(10)
    folds = problem.objective.folds(3)
    problem.index = InteractionsByEntity(problem.users, 40, folds, 3)
    return folds[single]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("growing", [(), (1,)])
def test_what_nothing_is_known_of_is_assigned_alike(growing):
    pair = twins(3, 2, start=4)
    left_out, _ = (few_known(problem) for problem in pair)
    fast, single = pair[0], torch.arange(10)
    started = all_views(fast)[:, single, left_out]
    reassign_both(pair, growing)
    assert torch.equal(*(all_views(problem) for problem in pair))
    views = all_views(fast)
    unknown = torch.cat([views[:, single, left_out], views[:, 38:].flatten(1)], dim=1)
    assert (unknown == unknown[:, :1]).all()
    assert not torch.equal(started, views[:, single, left_out])


def test_entities_that_stay_do_so_also_where_nothing_is_known_of_them():
    problem = twins(3, 2, start=4)[0]
    few_known(problem)
    started, keep = all_views(problem)[..., -1], torch.arange(40) % 2 == 0
    settings, generator = ClusterSettings(folds=3), torch.Generator().manual_seed(0)
    reassign_cross_fitted(problem.objective, problem.levels, problem.index, settings, generator, keep=keep)
    ended = all_views(problem)[..., -1]
    assert torch.equal(ended[:, keep], started[:, keep])
    assert not torch.equal(ended[:, ~keep], started[:, ~keep])


def test_a_change_that_raises_the_loss_is_refused(monkeypatch):
    """As where a network has hardly been trained, of which a quadratic function is no picture."""
    states = {}
    for most in (float("inf"), -0.99):
        monkeypatch.setattr(reassignment, "MAX_RISE", most)
        problem = twins(0, start=3)[0]
        before = all_views(problem), [table.weight.clone() for table in problem.tables]
        done = reassign_cross_fitted(
            problem.objective, problem.levels, problem.index, ClusterSettings(folds=3), torch.Generator()
        )
        unchanged = torch.equal(all_views(problem), before[0])
        states[most] = done.moved, unchanged, done.loss_after == done.loss_before
        assert all(map(torch.equal, before[1], [table.weight for table in problem.tables]))
    assert states[-0.99] == (0, True, True)
    assert states[float("inf")][0] > 0 and not states[float("inf")][1]


def test_where_the_model_bends_entities_go_a_part_of_the_way(monkeypatch):
    """The outputs rise less and less with the rows, which the derivatives do not tell."""
    problem = twins(0, start=3)[0]
    run, dampings = problem.objective.outputs, []
    problem.objective.outputs = lambda *some: bent(run(*some))

    def bent(outputs):
        return outputs - 30 * (outputs - flat).abs() ** 3

    flat = run(torch.arange(400)).detach().mean()
    current = out_of_fold.CurrentLevels.of
    monkeypatch.setattr(
        out_of_fold.CurrentLevels, "of", lambda *args: (dampings.append(args[2]), current(*args))[1]
    )
    everything = torch.arange(400)
    before = float(problem.objective.loss(problem.objective.outputs(everything), problem.labels).sum().detach())
    done = reassign_cross_fitted(
        problem.objective, problem.levels, problem.index, ClusterSettings(folds=3), torch.Generator(), growing=[0]
    )
    after = float(problem.objective.loss(problem.objective.outputs(everything), problem.labels).sum().detach())
    assert len(dampings) > 1 and dampings == list(reassignment.DAMPINGS[: len(dampings)])
    assert after <= (1 + reassignment.MAX_RISE) * before
    assert done.moved > 0 or done.skipped == "losses would rise"


@pytest.mark.parametrize(("growing", "sampled"), [((), 40), ((0, 1), 40), ((0, 1), 12)])
def test_bounds_of_memory_change_no_decision(growing, sampled, monkeypatch):
    monkeypatch.setattr(reassignment, "sample_size", lambda counts, width, folds: min(sampled, len(counts)))
    bounds = {name: getattr(reassignment, name) for name in ("MAX_INTERACTIONS", "MAX_CHUNK", "MAX_NUMBERS")}
    for seed in range(3):
        found = []
        for factor in (1 / 16, 1, 16):
            for name, value in bounds.items():
                # Of so few interactions, a sixteenth of the bounds would still hold all.
                monkeypatch.setattr(reassignment, name, int(value * factor / 256))
            problem = twins(seed, levels=2, start=2)[0]
            generator = torch.Generator().manual_seed(0)
            reassign_cross_fitted(
                problem.objective,
                problem.levels,
                problem.index,
                ClusterSettings(folds=3),
                generator,
                growing=growing,
            )
            found.append(all_views(problem))
        assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


def test_ids_that_come_later_start_like_one_without_interactions_and_move_at_the_next_event():
    problem = twins(3, 2, start=3)[0]
    likes = problem.users % 2
    problem.labels.copy_(likes)
    fields = {"user": [problem.model.user, problem.model.user_bias]}
    settings = ClusterSettings(folds=3, levels=2)
    optimiser = ClusterOptimiser(fields, problem.objective, settings, steps_per_epoch=10)
    optimiser.reassign("user")
    views = all_views(problem)
    levels = [tables[0].assignment for tables in problem.levels]
    for number, like in ((30, 0), (50, 40)):
        with pytest.raises(
            ValueError, match=f"40 ids cannot become {number}, of which the new ones are like id {like}"
        ):
            extend_ids(levels, number, like)
    extend_ids(levels, 50, like=0)
    assert torch.equal(all_views(problem)[:, :40], views)
    assert torch.equal(all_views(problem)[:, 40:], views[:, :1].expand(-1, 10, -1))
    # The interactions of half of the users become those of new ones of both kinds.
    some = (problem.users >= 4) & (problem.users % 4 >= 2)
    problem.users[some] = 40 + problem.users[some] % 8
    optimiser.reassign("user")
    moved = all_views(problem)
    assert torch.equal(moved[:, 48], moved[:, 49])
    assert not torch.equal(moved[:, 40:48], moved[:, 48:49].expand(-1, 8, -1))
