import pytest
import torch
from factorisation import Factorisation, Problem
from sklearn.metrics import adjusted_rand_score
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.row_state import copy_row_state
from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding
from recbole_cel.evidence import ModuleObjective


def planted_and_found(seed, rows, folds=1, **settings):
    """Labels depend on one of 8 user clusters and one of 8 item clusters alone; gives these, and what is found."""
    people, n, planted = 300, 30_000, 8
    generator = torch.Generator().manual_seed(seed)
    user_cluster = torch.randperm(people, generator=generator) % planted
    item_cluster = torch.randperm(people, generator=generator) % planted
    taste = 3 * torch.randn(planted, planted, generator=generator)
    users = torch.randint(0, people, (n,), generator=generator)
    items = torch.randint(0, people, (n,), generator=generator)
    labels = torch.bernoulli(torch.sigmoid(taste[user_cluster[users], item_cluster[items]]), generator=generator)
    torch.manual_seed(seed)
    model = Factorisation(people, people, rows, dim=8, folds=folds)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    objective = ModuleObjective(model, ["user", "item"], [users, items], labels)
    clusters = ClusterOptimiser(
        {"user": model.user_tables, "item": [model.item]},
        objective,
        ClusterSettings(split_interval=1, split_count=1, reassign_interval=0.5, folds=folds, **settings),
        steps_per_epoch=n // 1000,
        optimiser=optimiser,
    )
    for _ in range(30):
        for batch in torch.randperm(n, generator=generator).split(1000):
            optimiser.zero_grad()
            outputs = objective.training_outputs(users[batch], items[batch])
            nn.functional.binary_cross_entropy_with_logits(outputs, labels[batch]).backward()
            optimiser.step()
            clusters.step()
    return (user_cluster, model.user.assignment), (item_cluster, model.item.assignment)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_clusters_are_recovered(seed):
    for planted, found in planted_and_found(seed, rows=8, reassign_gain=0.0, split_gain=0.0):
        assert adjusted_rand_score(planted, found.clusters()) >= 0.95


def test_about_as_many_clusters_grow_as_were_planted():
    for planted, found in planted_and_found(0, rows=32, folds=4, split_gain=1.0):
        assert 8 <= found.num_clusters <= 16
        assert adjusted_rand_score(planted, found.clusters()) >= 0.8


def make(problem, optimiser=None, steps_per_epoch=4, seed=0, **settings):
    return ClusterOptimiser(
        {"user": problem.tables, "item": [problem.model.item]},
        problem.objective,
        ClusterSettings(**{"split_gain": 0.0, **settings}),
        steps_per_epoch=steps_per_epoch,
        optimiser=optimiser,
        seed=seed,
    )


def test_schedule():
    clusters = make(Problem(0, clusters=4), split_interval=0.5, reassign_interval=1, reassign_gain=0)
    log = [
        (event.step, event.field, event.kind, event.clusters_after) for _ in range(8) for event in clusters.step()
    ]
    assert [entry[:3] for entry in log] == [
        (1, "user x item", "joint split"),
        (2, "user", "split"),
        (2, "item", "split"),
        (4, "user", "reassignment"),
        (4, "item", "reassignment"),
        (4, "user", "split"),
        (4, "item", "split"),
        (8, "user", "reassignment"),
        (8, "item", "reassignment"),
    ]
    assert [entry[3] for entry in log][:7] == [2, 2, 2, 2, 2, 4, 4]


@pytest.mark.parametrize(
    ("slowdown", "multiples"),
    [(1, [1, 2, 3, 4, 5, 6, 7, 8, 9]), (1.5, [1, 2, 3, 4, 6, 9]), (2.9, [1, 2, 5])],
)
def test_reassignments_come_ever_more_rarely(slowdown, multiples):
    clusters = make(Problem(5, start=2), split_interval=99, reassign_interval=0.5, reassign_slowdown=slowdown)
    events = [event for _ in range(19) for event in clusters.step()]
    assert [event.step for event in events if event.field == "user"] == [2 * number for number in multiples]


def test_reassignment_can_be_switched_off_and_splits_limited():
    clusters = make(Problem(1), split_interval=0.25, reassign_interval=0, split_count=1)
    events = [event for _ in range(5) for event in clusters.step()]
    assert {event.kind for event in events[1:]} == {"split"}
    assert [event.clusters_after for event in events if event.field == "user"] == [2, 3, 4, 5, 6]


def test_events_tell_the_loss_before_and_after():
    problem = Problem(2, start=2)
    mean = float(problem.loss_of_users().mean())
    clusters = make(problem, reassign_gain=0.0)
    split = clusters.split("user")
    assert split.loss_before == split.loss_after == pytest.approx(mean, rel=1e-5)
    problem.move_rows(0)
    mean = float(problem.loss_of_users().mean())
    reassigned = clusters.reassign("user")
    assert reassigned.loss_before == pytest.approx(mean, rel=1e-5)
    assert reassigned.loss_after == pytest.approx(float(problem.loss_of_users().mean()), rel=1e-5)
    assert reassigned.loss_after < reassigned.loss_before
    assert f"{reassigned.moved} of 40 entities moved" in str(reassigned)


def test_clusters_stay_once_own_rows_are_trained():
    problem = Problem(3, start=2)
    for table in problem.tables:
        table.personal = nn.Parameter(torch.zeros(40, table.embedding_dim), requires_grad=False)
    settings = dict(personalisation=True, personalisation_start=1, split_interval=0.25)
    clusters = make(problem, **settings)
    assert [bool(clusters.step()) for _ in range(6)] == [True, True, False, False, False, False]
    assert all(table.personal.requires_grad for table in problem.tables)
    resumed = make(Problem(3, start=2), **settings)
    resumed.load_state_dict(clusters.state_dict())
    assert resumed.personalised


def test_tables_of_a_field_must_share_their_assignment():
    tables = [ClusteredEmbedding(ClusterAssignment(9, 2), 1) for _ in range(2)]
    with pytest.raises(ValueError, match="share one ClusterAssignment"):
        ClusterOptimiser({"user": tables}, Problem(0).objective, ClusterSettings(), steps_per_epoch=1)


@pytest.mark.parametrize(
    "kind",
    [
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.Adagrad,
        torch.optim.RMSprop,
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    ],
)
def test_split_rows_carry_their_parents_optimiser_state(kind):
    """From equal rows and state, and under equal gradients, parent and child take the same steps."""
    table = ClusteredEmbedding(ClusterAssignment(4, 3, initial_clusters=2), 2, std=1.0)
    optimiser = kind(table.parameters())
    for _ in range(3):
        optimiser.zero_grad()
        table(torch.tensor([0, 1])).square().sum().backward()
        optimiser.step()
    parents, children = torch.tensor([1]), torch.tensor([2])
    with torch.no_grad():
        table.weight[children] = table.weight[parents]
    copy_row_state(optimiser, table.weight, parents, children)
    table.assignment.move(torch.tensor([3]), children)
    for _ in range(3):
        optimiser.zero_grad()
        table(torch.tensor([1, 3])).square().sum().backward()
        optimiser.step()
    assert torch.equal(table.weight[1], table.weight[2])
    assert not torch.equal(table.weight[0], table.weight[1])


def test_the_coin_that_keeps_entities_depends_on_seed_and_step_alone():
    def clusters_after(keep, seed, step):
        problem = Problem(5, users=400, n=4000, start=6)
        clusters = make(problem, reassign_gain=0.0, reassign_keep=keep, seed=seed)
        clusters.load_state_dict({**clusters.state_dict(), "steps": step})
        moved = clusters.reassign("user").moved
        return problem.assignment.clusters().tolist(), moved

    _, everyone = clusters_after(0.0, 0, 7)
    first, some = clusters_after(0.3, 0, 7)
    assert clusters_after(0.3, 0, 7)[0] == first  # as a resumed run draws it
    assert clusters_after(0.3, 0, 8)[0] != first
    assert clusters_after(0.3, 1, 7)[0] != first
    assert some == pytest.approx(0.7 * everyone, rel=0.1)
    assert clusters_after(1.0, 0, 7)[1] == 0


def test_reassignments_come_at_multiples_of_the_interval_wherever_growth_ends():
    problem = Problem(1, clusters=3, folds=2)
    clusters = make(problem, steps_per_epoch=1, split_interval=3, split_count=1, reassign_interval=4)
    found = [(event.step, event.kind) for _ in range(13) for event in clusters.step() if event.field == "user"]
    growth, later = [(3, "split"), (6, "split")], [(step, "reassignment") for step in (4, 8, 12)]
    assert found == sorted(growth + later)


def test_intervals_need_not_be_whole_numbers_of_steps():
    """Half an epoch of 77 steps is 38.5: every second growth comes with a reassignment."""
    problem = Problem(1, clusters=8, folds=2)
    options = {"split_interval": 0.5, "split_gain": 0, "split_count": 1, "reassign_interval": 1}
    clusters = make(problem, steps_per_epoch=7, **options)
    found = [(event.step, event.kind) for _ in range(14) for event in clusters.step() if event.field == "user"]
    assert found == [(4, "split"), (7, "split"), (11, "split"), (14, "split")]
