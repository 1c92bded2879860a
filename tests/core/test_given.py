"""What users of plain PyTorch may give: labels, ids and models of other types, frozen parts, next to nothing."""

from fractions import Fraction

import pytest
import torch
from factorisation import Factorisation, Problem
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.schedule import Schedule
from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding, FullEmbedding
from recbole_cel.embedding.additive import AdditiveEmbedding
from recbole_cel.embedding.hashed import ModuloHashEmbedding
from recbole_cel.evidence import ModuleObjective

PEOPLE, NUMBER = 60, 2000


class Additive(nn.Module):
    """An inner product of users and items, of two levels each."""

    def __init__(self, folds):
        super().__init__()
        tables = [
            [ClusteredEmbedding(ClusterAssignment(PEOPLE, 4, folds=folds), 3, std=std) for std in (0.5, 0.0)]
            for _ in range(2)
        ]
        self.user, self.item = map(AdditiveEmbedding, tables)

    def forward(self, users, items):
        return (self.user(users) * self.item(items)).sum(-1)


def trained(folds=4, model_type=torch.float32, label_type=torch.float32, id_type=torch.int64, **settings):
    """Events of two epochs on labels of two groups of users and items, and the codes that were found."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randint(0, PEOPLE, (NUMBER,), generator=generator) for _ in range(2))
    labels = ((users % 2 == items % 2) ^ (torch.rand(NUMBER, generator=generator) < 0.2)).to(label_type)
    model = Additive(folds).to(model_type)
    ids = users.to(id_type), items.to(id_type)
    objective = ModuleObjective(model, ["user", "item"], ids, labels)
    settings = ClusterSettings(**{"split_interval": 1, "reassign_interval": 1, "folds": folds, **settings})
    fields = {"user": [model.user], "item": [model.item]}
    clusters = ClusterOptimiser(fields, objective, settings, steps_per_epoch=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    events = []
    for _ in range(2):
        for batch in torch.arange(NUMBER).split(NUMBER // 4):
            optimiser.zero_grad()
            outputs = objective.training_outputs(*(one[batch] for one in ids), interactions=batch)
            nn.functional.binary_cross_entropy_with_logits(outputs, labels[batch].to(model_type)).backward()
            optimiser.step()
            events += clusters.step()
    return events, [level.assignment.clusters() for level in (*model.user.levels, *model.item.levels)]


@pytest.mark.parametrize("folds", [1, 4])
@pytest.mark.parametrize(
    "types",
    [
        {"label_type": torch.int64},
        {"label_type": torch.bool},
        {"label_type": torch.float64},
        {"model_type": torch.float64},
        {"model_type": torch.float64, "label_type": torch.float64},
    ],
    ids=str,
)
def test_labels_and_models_of_other_types(folds, types):
    events, codes = trained(folds, **types)
    assert not any(event.skipped for event in events)
    assert max(int(one.max()) for one in codes) > 0


@pytest.mark.parametrize("folds", [1, 4])
@pytest.mark.parametrize("id_type", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_small_integers_are_the_same_ids(folds, id_type):
    one, other = trained(folds), trained(folds, id_type=id_type)
    assert all(map(torch.equal, one[1], other[1]))
    assert [event.moved for event in one[0]] == [event.moved for event in other[0]]


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.complex64])
def test_ids_that_are_no_integers_are_refused(kind):
    ids = torch.ones(3).to(kind)
    for table in (
        ClusteredEmbedding(ClusterAssignment(9, 4), 2),
        AdditiveEmbedding([ClusteredEmbedding(ClusterAssignment(9, 4), 2) for _ in range(2)]),
        ModuloHashEmbedding(9, 2, 4),
        FullEmbedding(9, 2),
    ):
        with pytest.raises(TypeError, match="ids must be integers, got torch"):
            table(ids)


def test_small_integers_look_up_own_rows():
    table = ClusteredEmbedding(ClusterAssignment(200, 4), 2, personalisation=True)
    with torch.no_grad():
        table.personal.normal_()
    ids = torch.tensor([0, 199, 128])
    assert torch.equal(table(ids.to(torch.uint8)), table(ids))
    full = FullEmbedding(200, 2)
    assert torch.equal(full(ids.to(torch.uint8)), full.weight[ids])


def test_parts_that_are_frozen_stay_so():
    problem = Problem(0, mlp=True)
    problem.model.norm = nn.BatchNorm1d(3)
    problem.model.norm.eval()
    problem.objective.outputs(torch.arange(5))
    assert problem.model.training and problem.model.mlp.training and not problem.model.norm.training


class Merging(nn.Module):
    """As some adapters do: merged into the model in evaluation, and apart in training."""

    merged = False

    def train(self, mode=True):
        self.merged = not mode
        return super().train(mode)


def test_parts_that_do_something_when_they_are_switched_are_switched_back():
    problem = Problem(0)
    problem.model.adapter = Merging()
    problem.objective.outputs(torch.arange(5))
    assert problem.model.adapter.training and not problem.model.adapter.merged


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_models_of_half_precision_are_refused(kind):
    problem = Problem(0)
    with pytest.raises(ValueError, match="single or double precision, got torch"):
        ModuleObjective(problem.model.to(kind), ["user"], [problem.users], problem.labels)


@pytest.mark.parametrize("seed", [-5, 2**62])
def test_any_seed_will_do(seed):
    problem = Problem(0, start=2, folds=3)
    model = Additive(3)
    objective = ModuleObjective(model, ["user", "item"], [problem.users, problem.items], problem.labels)
    fields = {"user": [model.user], "item": [model.item]}
    clusters = ClusterOptimiser(fields, objective, ClusterSettings(folds=3), steps_per_epoch=1, seed=seed)
    assert not any(event.skipped for _ in range(3) for event in clusters.step())


@pytest.mark.parametrize("folds", [1, 3])
def test_where_nothing_is_known_nothing_happens(folds):
    nothing = torch.empty(0, dtype=torch.int64)
    model = Factorisation(10, 10, 4, folds=folds)
    objective = ModuleObjective(model, ["user", "item"], [nothing, nothing], torch.empty(0))
    fields = {"user": model.user_tables, "item": [model.item]}
    clusters = ClusterOptimiser(fields, objective, ClusterSettings(folds=folds), steps_per_epoch=1)
    for _ in range(3):
        assert all(event.moved == 0 for event in clusters.step())


@pytest.mark.parametrize("folds", [1, 3])
def test_interactions_that_weigh_nothing_tell_nothing(folds):
    problem = Problem(0, start=2, folds=folds)
    objective = ModuleObjective(
        problem.model, ["user", "item"], [problem.users, problem.items], problem.labels, weights=torch.zeros(400)
    )
    fields = {"user": problem.tables, "item": [problem.model.item]}
    clusters = ClusterOptimiser(fields, objective, ClusterSettings(folds=folds), steps_per_epoch=1)
    before = problem.assignment.clusters()
    assert all(event.moved == 0 for _ in range(3) for event in clusters.step())
    assert torch.equal(before, problem.assignment.clusters())


def test_an_epoch_has_a_step():
    problem = Problem(0)
    with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
        ClusterOptimiser({"user": problem.tables}, problem.objective, ClusterSettings(), steps_per_epoch=0)


@pytest.mark.parametrize("settings", [{"reassign_candidates": 3}, {"split_by": "kmeans"}])
def test_settings_of_tables_without_folds_are_refused_where_there_are_some(settings):
    problem, settings = Problem(0, folds=3), ClusterSettings(folds=1, **settings)
    with pytest.raises(ValueError, match="with 3 folds"):
        ClusterOptimiser({"user": problem.tables}, problem.objective, settings, steps_per_epoch=1)


def test_an_event_that_splits_nothing_names_no_level():
    problem = Problem(0, clusters=2, start=2)
    settings = ClusterSettings(folds=1)
    clusters = ClusterOptimiser({"user": problem.tables}, problem.objective, settings, steps_per_epoch=1)
    event = clusters.split("user")
    assert (event.level, event.clusters_before, event.clusters_after) == (0, 2, 2)


@pytest.mark.parametrize("interval", [Fraction(1, 5), Fraction(3, 10), Fraction(1, 3), Fraction(7, 10)])
def test_what_is_due_comes_at_the_first_step_that_reaches_it(interval):
    for steps_per_epoch in range(1, 40):
        settings = ClusterSettings(split_interval=float(interval))
        schedule = Schedule(settings, steps_per_epoch, ["user"])
        every = interval * steps_per_epoch
        due = [step for step in range(1, 3 * steps_per_epoch + 1) if schedule.splits_at(step)]
        assert due == [step for step in range(1, 3 * steps_per_epoch + 1) if step // every > (step - 1) // every]
