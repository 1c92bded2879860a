import pytest
import torch
from written import apply_split

from recbole_cel.clustering import ClusterSettings
from recbole_cel.clustering.paper.split import propose_split
from recbole_cel.embedding import levels_of
from recbole_cel.evidence.grouping import InteractionsByEntity
from recbole_cel.experiments.factorisation import Factorisation
from recbole_cel.experiments.planted import plant
from recbole_cel.experiments.training import Recipe, cluster_optimiser, fit, mean_squared_error


def problem(seed=0, number=3000, noise=0.2):
    generator = torch.Generator().manual_seed(seed)
    truth = plant(60, 40, 3, 5, generator)
    torch.manual_seed(seed)
    return truth.ratings(number, noise, generator)


def model_of(ratings, clusters=6, **options):
    return Factorisation(ratings.num_users, ratings.num_items, 3, clusters, **options)


EVENTS = ClusterSettings(split_interval=0.5, reassign_interval=1.0, reassign_gain=0.0, reassign_candidates=0)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("personalisation", [False, True])
def test_non_negativity_holds_after_every_step(levels, personalisation):
    """The targets are negative for a third of the users, so that the projection has something to do."""
    ratings = problem()
    ratings = ratings._replace(values=torch.where(ratings.users % 3 == 0, -ratings.values, ratings.values))
    model = model_of(ratings, levels=levels, biases=True, personalisation=personalisation, start=0.5)
    settings = ClusterSettings(personalisation=personalisation, personalisation_start=3, reassign_gain=0.0)
    fit(model, ratings, Recipe(8, 500, 0.05, clusters=settings), 0)
    rows = model.items(torch.arange(ratings.num_items)).detach()
    for table in (model.users.weight, rows, *(level.weight for level in levels_of(model.items))):
        assert table[:, :-1].min().item() >= -1e-7
    assert int((model.users.weight[:, :-1] == 0).sum()) > 5
    assert model.users.weight[:, -1].min().item() < 0
    own = levels_of(model.items)[0].personal
    assert (own is not None and own.min().item() < 0) is personalisation


def test_without_the_bound_rows_become_negative():
    ratings = problem()
    model = model_of(ratings, non_negative=False)
    fit(model, ratings, Recipe(2, 500, 0.05, clusters=EVENTS), 0)
    assert model.users.weight.min().item() < 0


def test_ratings_by_hand():
    ratings = problem()
    model = model_of(ratings, biases=True, offset=3.0, levels=2)
    with torch.no_grad():
        model.users.weight[4] = torch.tensor([1.0, 2.0, 0.0, 0.5])
        levels_of(model.items)[0].weight[0] = torch.tensor([1.0, 1.0, 1.0, 0.25])
        levels_of(model.items)[1].weight[0] = torch.tensor([0.0, 1.0, 0.0, 0.25])
    assert model(torch.tensor([4]), torch.tensor([7])).item() == pytest.approx(1 + 4 + 0.5 + 0.5 + 3)
    penalty = model.penalty(torch.tensor([4]), torch.tensor([7]), 0.1, 0.01, 0.001)
    assert penalty.item() == pytest.approx(0.1 * 5 + 0.01 * (1 + 4 + 1) + 0.001 * (0.25 + 0.25))


def test_history_by_hand_and_only_of_what_was_rated():
    ratings = problem()
    some = ratings.at(torch.tensor([0, 1, 2]))._replace(
        users=torch.tensor([5, 5, 6]), items=torch.tensor([1, 2, 2])
    )
    model = model_of(ratings, biases=True, non_negative=False, history=some)
    (second,) = levels_of(model.history)
    second.assignment.move(torch.tensor([2]), torch.tensor([1]))
    with torch.no_grad():
        second.weight[0], second.weight[1] = 1.0, 3.0
    shift = model._user_rows(torch.tensor([5, 6, 7])) - model.users(torch.tensor([5, 6, 7]))
    expected = torch.tensor([4 / 2**0.5, 3.0, 0.0]).unsqueeze(1) * torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert torch.allclose(shift, expected, atol=1e-6)
    with pytest.raises(ValueError, match="takes no history"):
        model_of(ratings, history=some)
    with pytest.raises(ValueError, match="without a history"):
        model_of(ratings).history_rows()


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
def test_a_split_changes_no_rating(history, levels):
    """Second rows and the optimiser's memory follow the split like the first."""
    ratings = problem()
    model = model_of(ratings, levels=levels, biases=True, non_negative=False, history=ratings if history else None)
    fit(model, ratings, Recipe(3, 500, 0.05, clusters=ClusterSettings(split_count=1, split_interval=1.5)), 0)
    before = model(ratings.users, ratings.items)
    index = InteractionsByEntity(ratings.items, ratings.num_items)
    clusters = cluster_optimiser(model, ratings, EVENTS, 6, torch.optim.Adam(model.parameters()), 0)
    tables = next(tables for tables in clusters.fields["item"] if tables[0].assignment.num_clusters < 6 // levels)
    proposal = propose_split(clusters.objective, tables, index, "zero", torch.Generator().manual_seed(0))
    done = apply_split(proposal, tables, index, "interactions", 1)
    assert done.moved > 0
    assert torch.equal(model(ratings.users, ratings.items), before)


def test_hierarchy_pulls_shared_rows_together():
    spread = {}
    for weight in (0.0, 1e4):
        ratings = problem()
        settings = ClusterSettings(super_clusters=1, super_cluster_weight=weight, reassign_gain=0.0)
        model = model_of(ratings, start=0.5)
        fit(model, ratings, Recipe(6, 500, 0.02, clusters=settings), 0)
        rows = levels_of(model.items)[0].weight[levels_of(model.items)[0].assignment.occupied]
        spread[weight] = rows.var(dim=0).sum().item()
    assert spread[1e4] < 0.1 * spread[0.0]


def test_decay_own_pull_and_history_decay_shrink_their_rows():
    ratings = problem()

    def norms(**options):
        torch.manual_seed(1)
        model = model_of(
            ratings, biases=True, non_negative=False, personalisation=True, history=ratings, start=0.5
        )
        settings = ClusterSettings(personalisation=True, personalisation_start=2, reassign_candidates=0)
        fit(model, ratings, Recipe(6, 500, 0.02, clusters=settings, **options), 0)
        own = levels_of(model.items)[0].personal
        parts = model.users.weight[:, :-1], model.users.weight[:, -1], own, model.history_rows()
        return [part.square().sum().item() for part in parts]

    plain = norms()
    assert norms(user_decay=0.5)[0] < 0.5 * plain[0]
    assert norms(bias_decay=5.0)[1] < 0.5 * plain[1]
    assert norms(own_pull=1e4)[2] < 0.1 * plain[2]
    assert norms(history_decay=1e4)[3] < 0.1 * plain[3]


def test_training_is_repeatable_and_can_be_stopped():
    ratings = problem()

    def train(stop):
        torch.manual_seed(3)
        model = model_of(ratings, start=0.5)
        seen = []
        fit(
            model, ratings, Recipe(5, 500, 0.05, clusters=EVENTS), 3, lambda e, s: seen.append((e, s)) or e == stop
        )
        return mean_squared_error(model, ratings), seen

    assert train(9)[0] == train(9)[0] < 0.5 * float(ratings.values.var())
    epochs, seconds = zip(*train(2)[1])
    assert epochs == (1, 2) and 0 < seconds[0] < seconds[1]
