import torch
from factorisation import Problem

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings, ModuleObjective
from recbole_cel.clustering.grouping import InteractionsByEntity
from recbole_cel.clustering.sample import SampledObjective, thinned
from recbole_cel.clustering.split import propose_split


def busy_problem(**options):
    """Users of two kinds, one of which likes everything, with about 200 interactions each."""
    made = Problem(0, users=42, n=8000, **options)
    made.labels.copy_((made.users % 2).float())
    return made


class Counting(ModuleObjective):
    """Remembers how many outputs it was asked for."""

    asked = 0

    def outputs(self, interactions):
        self.asked += len(interactions)
        return super().outputs(interactions)


def optimiser(made, **settings):
    columns = list(made.objective.columns.values())
    objective = Counting(made.model, ["user", "item"], columns, made.labels)
    settings = ClusterSettings(reassign_interval=0, **settings)
    return ClusterOptimiser({"user": made.tables}, objective, settings, steps_per_epoch=1), objective


def test_thinned_keeps_what_is_rare_and_about_the_limit_of_the_rest():
    entities = torch.cat([torch.zeros(10_000), torch.ones(5)]).long()
    counts = torch.bincount(entities)
    draws = [thinned(entities, counts, 100, torch.Generator().manual_seed(seed)) for seed in range(3)]
    for kept in draws:
        assert (entities[kept] == 1).sum() == 5
        assert 60 < (entities[kept] == 0).sum() < 140
    assert not torch.equal(draws[0][:50], draws[1][:50])
    assert torch.equal(draws[2], thinned(entities, counts, 100, torch.Generator().manual_seed(2)))


def test_a_split_of_a_sample_is_the_split_of_data_that_hold_only_the_sample():
    made = Problem(0, folds=3, start=3)
    some = torch.arange(0, 400, 3)
    sampled = SampledObjective(made.objective, some)
    columns = [made.users[some], made.items[some]]
    alone = ModuleObjective(made.model, ["user", "item"], columns, made.labels[some])
    found = []
    for objective in (sampled, alone):
        index = InteractionsByEntity(objective.entities("user"), 40, objective.folds(3), 3)
        found.append(propose_split(objective, made.tables, index, "zero", torch.Generator(), weigh=True))
    assert torch.equal(found[0].gain, found[1].gain)
    assert found[0].gain.max() > 0
    assert torch.equal(found[0].loss, found[1].loss)
    assert not sampled.refresh()


def test_splits_look_at_a_sample_and_tell_apart_who_differs():
    made = busy_problem(folds=3)
    clusters, objective = optimiser(made, split_gain=1.0, split_interactions=20)
    event = clusters.split("user")
    assert event.clusters_after == 2
    assert objective.asked < 0.2 * len(made.labels)
    sides = made.assignment.clusters[2:]
    assert len(sides[::2].unique()) == len(sides[1::2].unique()) == 1


def test_small_data_are_looked_at_whole():
    made = Problem(0, folds=3)  # about ten interactions a user
    clusters, objective = optimiser(made, split_interactions=8)
    clusters.split("user")
    assert objective.asked >= len(made.labels)


def test_without_a_limit_all_are_looked_at():
    made = busy_problem(folds=3)
    clusters, objective = optimiser(made, split_interactions=0)
    clusters.split("user")
    assert objective.asked >= len(made.labels)


def test_a_level_is_grown_only_if_all_interactions_say_so():
    made = busy_problem(folds=3)
    clusters, objective = optimiser(made, split_gain=1e6, split_interactions=20)
    asked = []
    for _ in range(4):
        before = objective.asked
        clusters.step()
        asked.append(objective.asked - before)
    assert 0 < asked[0] < 0.2 * len(made.labels)
    assert asked[1] >= len(made.labels)
    assert asked[2:] == [0, 0]
