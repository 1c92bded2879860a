import pytest
import torch
from factorisation import Problem

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.cross_fitted import growth, merging
from recbole_cel.evidence.objective import loss_curvature, loss_slope


def problem(seed, folds=3, **options):
    options = {"n": 4000, "users": 200, "start": 1, **options}
    return Problem(seed, folds=folds, **options)


def of_kinds(seed, kinds, **options):
    """Users of several kinds, from those who like little to those who like most."""
    made = problem(seed, **options)
    made.labels.copy_(torch.bernoulli((6.0 * (made.users % kinds) / (kinds - 1) - 3).sigmoid()))
    return made


def optimiser(made, **settings):
    settings = {"folds": 3, "split_interval": 0.25, "reassign_interval": 0, **settings}
    return ClusterOptimiser({"user": made.tables}, made.objective, ClusterSettings(**settings), steps_per_epoch=8)


def test_one_event_finds_the_kinds_that_there_are():
    made = of_kinds(0, 3, clusters=16)
    event = optimiser(made).split("user")
    assert 3 <= event.clusters_after <= 8
    for one in made.assignment.clusters().unique():
        members = (made.assignment.clusters() == one).nonzero().squeeze(1)
        kinds = torch.bincount(members[members >= 2] % 3)
        assert kinds.max() > 0.9 * kinds.sum()
    assert event.loss_after < event.loss_before - 0.1
    assert event.loss_after == pytest.approx(float(made.loss_of_users().mean()), rel=1e-4)


def test_labels_by_lot_give_hardly_any_reason_to_split():
    """Each user fits its own labels better in a cluster of its own, but other labels do not."""
    clusters = {}
    for gain in (0.0, 1.0):
        clusters[gain] = 0
        for seed in range(6):
            made = problem(seed, clusters=16)
            with torch.no_grad():
                made.labels.copy_(torch.bernoulli(made.objective.outputs(torch.arange(4000)).sigmoid()))
            clusters[gain] += optimiser(made, split_gain=gain).split("user").clusters_after
    assert clusters[0.0] > 60
    assert clusters[1.0] < 24


@pytest.mark.parametrize("gain", [0.0, 1e6])
def test_growth_stops_after_two_events_without_a_split(gain):
    made = of_kinds(0, 8, clusters=8)
    settings = dict(split_count=1, split_gain=gain)
    clusters = optimiser(made, **settings)
    events = [len(clusters.step()) for _ in range(2)]
    assert events == [0, 1]
    resumed = optimiser(made, **settings)
    resumed.load_state_dict(clusters.state_dict())
    events = [len(resumed.step()) for _ in range(14)]
    # Without a limit it grows to its 8 rows, one at a time; else it rests, and is tried again after two epochs.
    assert events == ([0, 1] * 6 + [0] * 2 if gain == 0 else [0, 1] + [0] * 11 + [1])


def test_growth_goes_on_while_enough_splits_pay():
    made = of_kinds(0, 8, clusters=60)
    clusters = optimiser(made, split_interval=0.125, split_gain=2.0)
    events = [event for _ in range(12) for event in clusters.step()]
    assert all(event.kind == "split" for event in events)
    poor = [event.clusters_after < 1.15 * event.clusters_before for event in events]
    assert poor[-2:] == [True, True]
    assert not any(one and two for one, two in zip(poor[:-2], poor[1:-1]))
    assert len(events) < 12 and events[-1].clusters_after < 60


def test_the_most_important_clusters_are_split_first():
    """Of two clusters that could be split, the criterion tells which one gets the only free row."""
    found = {}
    for criterion in ("interactions", "members", "loss", "mean_loss", "gradient_norm"):
        made = of_kinds(0, 4, clusters=3, start=2)
        # Cluster 0: many users with few interactions; cluster 1: few with many.
        few = torch.arange(200) < 60
        made.assignment.move(torch.arange(200), few.long())
        keep = (made.users < 60) | (torch.arange(4000) % 8 == 0)
        for name, column in made.objective.columns.items():
            made.objective.columns[name] = column[keep]
        made.objective._targets = made.labels[keep]
        clusters = optimiser(made, split_criterion=criterion, split_gain=0.0)
        seen = []
        original = growth.scores

        def scores(*args, original=original, seen=seen):
            seen.append(original(*args))
            return seen[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(growth, "scores", scores)
            assert clusters.split("user").clusters_after == 3
        found[criterion] = int(seen[0].argmax())
    assert found["members"] == 0
    assert found["interactions"] == 1
    assert set(found.values()) == {0, 1}


def test_levels_are_grown_in_ever_larger_numbers():
    from recbole_cel.embedding import AdditiveEmbedding, ClusterAssignment, ClusteredEmbedding

    made = of_kinds(0, 8, clusters=2)
    levels = [made.tables]
    for _ in range(3):
        assignment = ClusterAssignment(200, 2, 1, folds=3)
        levels.append([ClusteredEmbedding(assignment, table.embedding_dim, std=0.0) for table in made.tables])
    made.model.user, made.model.user_bias = (AdditiveEmbedding(tables) for tables in zip(*levels))
    clusters = ClusterOptimiser(
        {"user": [made.model.user, made.model.user_bias]},
        made.objective,
        ClusterSettings(folds=3, split_gain=0.0),
        steps_per_epoch=1,
    )
    events = [clusters.split("user") for _ in range(3)]
    assert [(event.level, event.clusters_after) for event in events] == [(1, 5), (2, 7), (4, 8)]
    assert "user split of level 2" in str(events[1])


def test_children_carry_on_with_what_the_optimiser_knows_of_their_parent():
    made = of_kinds(0, 4, clusters=8, start=2)
    adam = torch.optim.Adam(made.model.parameters())
    made.objective.loss(made.objective.outputs(torch.arange(4000)), made.labels).sum().backward()
    adam.step()
    clusters = ClusterOptimiser(
        {"user": made.tables},
        made.objective,
        ClusterSettings(folds=3, split_gain=0.0),
        steps_per_epoch=1,
        optimiser=adam,
    )
    clusters.split("user")
    moments = adam.state[made.tables[0].weight]["exp_avg_sq"]
    assert (moments[made.assignment.occupied].abs().sum(1) > 0).all()
    assert len(moments.unique(dim=0)) == 2


def test_curvature_is_the_derivative_of_the_slope():
    made = problem(0)
    outputs = made.objective.outputs(torch.arange(50)).detach()
    step = 1e-3
    slopes = [loss_slope(made.objective, outputs + shift, made.labels[:50]) for shift in (step, -step)]
    expected = (slopes[0] - slopes[1]) / (2 * step)
    assert torch.allclose(loss_curvature(made.objective, outputs, made.labels[:50]), expected, atol=1e-3)


@pytest.mark.parametrize("gain, left", [(0.05, 2), (0.0, 8)])
def test_clusters_that_gain_nothing_are_merged_unless_whatever_can_be_is_split(gain, left):
    made = of_kinds(0, 2, clusters=8)
    optimiser(made).split("user")
    alive = made.assignment.clusters().unique().long()
    assert len(alive) == 2
    # Each kind in two clusters, whose rows differ by little around what is right for it.
    other = torch.tensor([k for k in range(8) if k not in alive])[:2]
    there = (made.assignment.clusters() == alive[1]).long()
    half = torch.arange(200) // 2 % 2
    made.assignment.move(torch.arange(200), torch.where(half == 0, alive[there], other[there]))
    with torch.no_grad():
        for table in made.tables:
            around = 0.02 * torch.randn(table.weight[alive].shape)
            table.weight[other] = table.weight[alive] + around
            table.weight[alive] -= around
    clusters = optimiser(made, split_gain=gain)
    clusters.load_state_dict({"steps": 9, "poor_splits": {"user": 2}, "growths": {"user": 4}})  # growth rests
    event = clusters.split("user")
    assert (event.clusters_before, event.clusters_after) == (4, left)
    assert event.loss_after <= event.loss_before
    kinds = [made.assignment.clusters()[2 + kind :: 2].unique().tolist() for kind in (0, 1)]
    assert sum(map(len, kinds)) == left and not set(kinds[0]) & set(kinds[1])


def test_neighbours_are_found_in_portions_as_at_once(monkeypatch):
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    alive = torch.arange(50) % 7 > 0
    at_once = merging._neighbours(points, alive)
    assert len(at_once[0]) > 5 and alive[torch.cat(at_once)].all() and (at_once[0] < at_once[1]).all()
    monkeypatch.setattr(merging, "MAX_DISTANCES", 100)
    assert all(map(torch.equal, at_once, merging._neighbours(points, alive)))
