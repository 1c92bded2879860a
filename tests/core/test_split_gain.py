import pytest
import torch
from factorisation import Problem

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.grouping import InteractionsByEntity
from recbole_cel.clustering.objective import loss_curvature, loss_slope
from recbole_cel.clustering.reference import own_gradient
from recbole_cel.clustering.split import apply_split, propose_split


def problem(seed, folds, **options):
    made = Problem(seed, folds=folds, start=3, **options)
    made.everyone = torch.arange(made.assignment.num_entities)
    return made


def four_kinds(seed, **options):
    """Users of four kinds, from those who like little to those who like most."""
    made = problem(seed, 3, n=4000, users=200, **options)
    made.labels.copy_(torch.bernoulli((2.0 * (made.users % 4) - 3).sigmoid()))
    return made


def reference_gain(made, cluster):
    """Fold by fold, interaction by interaction: cut without the fold of anyone, and ask that fold."""
    folds = made.assignment.num_folds
    fold_of = made.objective.folds(folds)
    members = (made.assignment.clusters == cluster).nonzero().squeeze(1).tolist()
    members = [entity for entity in members if (made.users == entity).any()]
    first = [one for e in members for one in ((made.users == e) & (fold_of == 0)).nonzero()]
    contrast = scale = 0.0
    for fold in range(folds):
        outside = (fold_of != fold) | (folds == 1)
        gradients = []
        for entity in members:
            interactions = ((made.users == entity) & outside).nonzero().squeeze(1)
            gradients.append(own_gradient(made.objective, made.tables, interactions)[0])
        centred = torch.stack(gradients) - torch.stack(gradients).mean(dim=0)
        direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
        bend = 0.0
        for one in first:
            output = made.objective.outputs(one).detach()
            slope = float(loss_slope(made.objective, output, made.labels[one]))
            gradient, _ = own_gradient(made.objective, made.tables, one)
            bend += float(output.sigmoid() * (1 - output.sigmoid()) * (gradient @ direction / slope) ** 2)
        pull, number = [0.0, 0.0], [0, 0]
        for entity, projection in zip(members, (centred @ direction).tolist()):
            of_fold = ((made.users == entity) & (fold_of == fold)).nonzero().squeeze(1)
            if len(of_fold):
                gradient, _ = own_gradient(made.objective, made.tables, of_fold)
                pull[projection <= 0] += float(gradient @ direction)
                number[projection <= 0] += len(of_fold)
        far = number[0] / sum(number)
        contrast += (1 - far) * pull[0] - far * pull[1]
        scale += 2 * far * (1 - far) * sum(number) * bend / len(first)
    return max(0.0, contrast) ** 2 / scale


@pytest.mark.parametrize("folds", [1, 3])
def test_gain_equals_the_reference(folds):
    made = problem(0, folds)
    found = propose_split(made.objective, made.tables, made.index, "zero", torch.Generator(), weigh=True)
    expected = [reference_gain(made, cluster) for cluster in range(3)]
    assert found.gain[:3].tolist() == pytest.approx(expected, rel=1e-4)
    assert max(expected) > 0
    assert found.gain[3:].tolist() == [0] * 5


def test_curvature_is_the_derivative_of_the_slope():
    made = problem(0, 1)
    outputs = made.objective.outputs(torch.arange(50)).detach()
    step = 1e-3
    slopes = [loss_slope(made.objective, outputs + shift, made.labels[:50]) for shift in (step, -step)]
    expected = (slopes[0] - slopes[1]) / (2 * step)
    assert torch.allclose(loss_curvature(made.objective, outputs, made.labels[:50]), expected, atol=1e-3)


@pytest.mark.parametrize("dim", [3, 16])
def test_gain_of_noise_is_below_a_nat_with_folds_and_more_without(dim):
    """Labels that are drawn by lot give no reason to split, but any assignment fits those that it was made by."""
    gains = {}
    for folds in (1, 4):
        found = []
        for seed in range(12):
            made = problem(seed, folds, n=2000, users=200, dim=dim)
            with torch.no_grad():
                for table in (*made.tables, made.model.item):
                    table.weight.mul_(0.3)
                made.labels.copy_(torch.bernoulli(made.objective.outputs(torch.arange(2000)).sigmoid()))
            proposal = propose_split(
                made.objective, made.tables, made.index, "zero", torch.Generator(), weigh=True
            )
            found.append(proposal.gain[:3])
        gains[folds] = float(torch.cat(found).mean())
    assert gains[4] < 0.8
    assert gains[1] > 10 * gains[4]


def test_clusters_that_gain_too_little_stay_whole():
    made = four_kinds(0)
    found = propose_split(made.objective, made.tables, made.index, "zero", torch.Generator(), weigh=True)
    second = float(found.gain.sort(descending=True).values[1])
    done = apply_split(found, made.tables, made.index, "interactions", min_gain=second)
    assert done.parents.tolist() == [int(found.gain.argmax())]


@pytest.mark.parametrize("gain", [0.0, 1e6])
def test_growth_stops_after_two_events_without_a_split(gain):
    made = problem(0, 3)
    settings = ClusterSettings(split_interval=0.25, split_count=1, split_gain=gain, reassign_interval=0)

    def optimiser():
        return ClusterOptimiser({"user": made.tables}, made.objective, settings, steps_per_epoch=8)

    clusters = optimiser()
    events = [len(clusters.step()) for _ in range(2)]
    assert events == [0, 1]
    resumed = optimiser()
    resumed.load_state_dict(clusters.state_dict())
    events = [len(resumed.step()) for _ in range(10)]
    # Without a limit it grows to its 8 rows: 5 splits of one cluster.
    assert events == ([0, 1] * 4 + [0] * 2 if gain == 0 else [0, 1] + [0] * 8)


def test_growth_goes_on_while_enough_splits_pay():
    made = four_kinds(0, clusters=30)
    settings = ClusterSettings(split_interval=1, split_gain=1e-9, reassign_interval=0)
    clusters = ClusterOptimiser({"user": made.tables}, made.objective, settings, steps_per_epoch=1)
    grown = [event.clusters_after - event.clusters_before for _ in range(12) for event in clusters.step()]
    # More than a tenth is split at first; the second event with less is the last.
    assert grown[0] == 3
    before, poor = 3, []
    for number in grown:
        poor.append(number < 0.1 * min(before, 30 - before))
        before += number
    assert (sum(poor) == 2 and poor[-1]) or before == 30


def test_free_clusters_not_the_gain_limit_what_is_enough():
    """Of many clusters whose split pays, only one finds a free id; that does not end the level's growth."""
    made = Problem(0, folds=3, users=400, n=8000, clusters=21, start=20)
    settings = ClusterSettings(split_gain=1e-9, reassign_interval=0)
    clusters = ClusterOptimiser({"user": made.tables}, made.objective, settings, steps_per_epoch=1)
    for _ in range(4):
        assert clusters.split("user").clusters_after == 21
        made.assignment.move(made.assignment.clusters.eq(20).nonzero().squeeze(1), torch.zeros(1).long())
        assert made.assignment.num_clusters == 20
    assert clusters.state_dict()["poor_splits"] == {"user": [0]}


def test_interactions_that_all_lie_in_other_folds_are_no_trouble():
    """Curvatures are taken from the first fold; a portion of a large data set may hold none of it."""
    made = problem(0, 3)
    folds = made.objective.folds(3).clamp(min=1)
    index = InteractionsByEntity(made.users, made.assignment.num_entities, folds, 3)
    found = propose_split(made.objective, made.tables, index, "zero", torch.Generator(), weigh=True)
    assert found.gain.isfinite().all()
