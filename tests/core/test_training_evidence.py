"""Steps of training tell of rows what a pass of its own would, and are used where that is right."""

import math

import pytest
import torch
from torch import nn

from recbole_cel.clustering import ClusterEvent, ClusterOptimiser, ClusterSettings
from recbole_cel.clustering.cross_fitted import policy, reassignment
from recbole_cel.clustering.schedule import POOR_SPLITS
from recbole_cel.embedding import AdditiveEmbedding, ClusteredEmbedding, shared_assignments
from recbole_cel.embedding.additive import levels_of
from recbole_cel.embedding.slots import watch_lookups
from recbole_cel.evidence import ModuleObjective, binary_cross_entropy, squared_error
from recbole_cel.evidence.grouping import InteractionsByEntity
from recbole_cel.evidence.probe import probe, probe_chunk, probe_everything
from recbole_cel.evidence.training import TrainingEvidence

PEOPLE, ITEMS, NUMBER, FOLDS, BATCH = 60, 40, 1500, 3, 128
LOSSES = {binary_cross_entropy: nn.BCEWithLogitsLoss, squared_error: nn.MSELoss}


class Network(nn.Module):
    """A product, biases and a small network; ``twice`` looks every row up twice."""

    def __init__(self, twice=False, deep=True):
        super().__init__()
        self.twice = twice
        self.users, self.items = nn.ModuleList(), nn.ModuleList()
        for tables, number in ((self.users, PEOPLE), (self.items, ITEMS)):
            shared = shared_assignments(number, [8, 8], [4, 2], FOLDS)
            for width in (5, 1):
                tables.append(AdditiveEmbedding([ClusteredEmbedding(one, width, std=0.5) for one in shared]))
        self.deep = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 1)) if deep else None

    def forward(self, users, items):
        one, other = self.users[0](users), self.items[0](items)
        again = self.users[0](users) if self.twice else one
        outputs = (again * other).sum(dim=1) + self.users[1](users).squeeze(1) + self.items[1](items).squeeze(1)
        return outputs if self.deep is None else outputs + self.deep(torch.cat([one, other], dim=1)).squeeze(1)


class Case:
    def __init__(self, loss=binary_cross_entropy, **shape):
        torch.manual_seed(0)
        self.ids = torch.randint(PEOPLE, (NUMBER,)), torch.randint(ITEMS, (NUMBER,))
        taste = 3 * torch.randn(6, 5)[self.ids[0] % 6, self.ids[1] % 5]
        self.labels = torch.bernoulli(torch.sigmoid(taste))
        self.model = Network(**shape)
        self.objective = ModuleObjective(self.model, ["user", "item"], self.ids, self.labels, loss)
        self.fields = {"user": list(self.model.users), "item": list(self.model.items)}
        for tables in self.fields.values():
            for assignment in {level.assignment: None for table in tables for level in levels_of(table)}:
                parts = torch.randint(assignment.num_clusters, (assignment.num_entities, FOLDS + 1))
                assignment.move_all([(torch.arange(assignment.num_entities), parts)])
        self.loss = LOSSES[loss]()

    def step(self, batch, numbered=True):
        self.model.zero_grad()
        columns = [column[batch] for column in self.ids]
        outputs = self.objective.training_outputs(*columns, interactions=batch if numbered else None)
        self.loss(outputs, self.labels[batch]).backward()

    def evidence(self, batches):
        found = TrainingEvidence(self.objective, self.fields, NUMBER)
        self.objective.watch(found.meet)
        for batch in batches:
            self.step(batch)
            found.collect()
        self.objective.watch(None)
        return found

    def chunk(self, field):
        index = InteractionsByEntity(
            self.objective.entities(field),
            {"user": PEOPLE, "item": ITEMS}[field],
            self.objective.folds(FOLDS),
            FOLDS,
        )
        (chunk,) = index.chunks(torch.arange(len(index.counts)), NUMBER)
        return chunk

    def exact(self, field):
        return probe(self.objective, [levels_of(table)[0] for table in self.fields[field]], self.chunk(field))


def an_epoch():
    return torch.randperm(NUMBER).split(BATCH)


@pytest.mark.parametrize("loss", LOSSES, ids=["bce", "mse"])
@pytest.mark.parametrize("shape", [{}, {"deep": False}, {"twice": True}], ids=str)
@pytest.mark.parametrize("field", ["user", "item"])
def test_steps_tell_what_a_pass_would(loss, shape, field):
    case = Case(loss, **shape)
    evidence = case.evidence(an_epoch())
    assert evidence.complete
    told, exact = evidence.of(field).at(case.chunk(field)), case.exact(field)
    assert exact.jacobian.abs().max() > 0.5
    torch.testing.assert_close(told.jacobian, exact.jacobian, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(told.outputs, exact.outputs, atol=1e-4, rtol=1e-4)
    assert torch.equal(told.targets, exact.targets) and torch.equal(told.weights, exact.weights)


def test_outputs_follow_rows_that_move_after_the_step():
    case = Case(deep=False)
    evidence = case.evidence(an_epoch())
    with torch.no_grad():
        for table in case.model.users:
            for level in levels_of(table):
                level.weight += torch.randn_like(level.weight)
    told, exact = evidence.of("user").at(case.chunk("user")), case.exact("user")
    torch.testing.assert_close(told.outputs, exact.outputs, atol=2e-2, rtol=2e-3)


def test_the_last_time_that_an_interaction_was_met_counts():
    case = Case()
    first = an_epoch()
    evidence = TrainingEvidence(case.objective, case.fields, NUMBER)
    case.objective.watch(evidence.meet)
    for batches in (first, an_epoch()):
        for batch in batches:
            case.step(batch)
            evidence.collect()
        with torch.no_grad():
            case.model.deep[2].weight += 0.5 if batches is first else 0.0
    told, exact = evidence.of("item").at(case.chunk("item")), case.exact("item")
    torch.testing.assert_close(told.jacobian, exact.jacobian, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    "batches",
    [lambda: an_epoch()[:-1], lambda: [], lambda: [batch[: len(batch) // 2] for batch in an_epoch()]],
    ids=["all but the last", "none", "halves"],
)
def test_it_is_complete_only_if_all_interactions_were_met(batches):
    assert not Case().evidence(batches()).complete


def test_saturated_outputs_give_no_numbers_that_are_none():
    case = Case(deep=False)
    with torch.no_grad():
        for table in (*case.model.users, *case.model.items):
            for level in levels_of(table):
                level.weight *= 60
    evidence = case.evidence(an_epoch())
    told = evidence.of("user").at(case.chunk("user"))
    assert evidence.complete and all(bool(values.isfinite().all()) for values in told)


def test_what_half_precision_cannot_hold_is_left_to_a_pass():
    case = Case(deep=False)
    with torch.no_grad():
        for level in levels_of(case.model.users[0]):
            level.weight *= 1e6
    assert not case.evidence(an_epoch()).complete


def test_steps_without_a_backward_pass_or_numbers_tell_nothing():
    case = Case()
    evidence = TrainingEvidence(case.objective, case.fields, NUMBER)
    case.objective.watch(evidence.meet)
    batch = torch.arange(NUMBER)
    case.step(batch, numbered=False)
    evidence.collect()
    assert not evidence.complete
    with torch.no_grad():
        case.objective.training_outputs(*case.ids, interactions=batch)
    case.objective.training_outputs(*case.ids, interactions=batch)
    evidence.collect()
    assert not evidence.complete


def test_lookups_of_other_ids_in_an_interaction_tell_nothing():
    case = Case()
    case.model.eval()
    with watch_lookups() as lookups:
        outputs = case.model(*case.ids) + case.model.users[0](case.ids[0].flip(0)).sum(dim=1)
    evidence = TrainingEvidence(case.objective, case.fields, NUMBER)
    evidence.meet(torch.arange(NUMBER), lookups, outputs)
    outputs.sum().backward()
    evidence.collect()
    assert not evidence.complete


def test_nobody_watches_unless_asked():
    case = Case()
    case.model.eval()
    with watch_lookups() as lookups:
        case.model(*case.ids)
        with torch.no_grad():
            case.model(*case.ids)
    assert len(lookups) == 4
    case.model(*case.ids)
    assert len(lookups) == 4


def optimiser_of(case, **settings):
    steps = len(an_epoch())
    merged = {"split_interval": 50, "reassign_slowdown": 1.0, "folds": FOLDS, "levels": 2, **settings}
    return ClusterOptimiser(case.fields, case.objective, ClusterSettings(**merged), steps_per_epoch=steps)


@pytest.mark.parametrize("evidence", ["training", "passes"])
@pytest.mark.parametrize("grows", [False, True])
def test_passes_are_saved_where_an_epoch_ends_with_a_reassignment(evidence, grows, monkeypatch):
    case = Case()
    adam = torch.optim.Adam(case.model.parameters(), lr=0.01)
    growth = {"split_interval": 1.5} if grows else {}
    clusters = optimiser_of(case, reassign_interval=0.5, evidence=evidence, **growth)
    passes, chosen, told = set(), set(), set()
    monkeypatch.setattr(
        policy, "probe_everything", lambda *args: passes.add(clusters.steps) or probe_everything(*args)
    )
    for _ in range(3):
        for batch in an_epoch():
            case.step(batch)
            adam.step()
            events = [event for event in clusters.step() if event.kind != "joint split"]
            assert not any(event.skipped for event in events)
            chosen.update(event.step for event in events)
            told.update(event.step for event in events if "(evidence: training)" in str(event))
            assert all(("(evidence: passes)" in str(event)) != (event.step in told) for event in events)
    steps = len(an_epoch())
    assert chosen == {half * steps // 2 for half in range(1, 7)}
    saved = {steps, 2 * steps, 3 * steps} - ({3 * steps} if grows else set())
    assert passes == (chosen - saved if evidence == "training" else chosen)
    # And a line of the log says which of the two it was.
    assert told == chosen - passes


@pytest.mark.parametrize(("steps", "collects"), [(0, True), (3, False), (2 * len(an_epoch()), True)])
def test_a_run_that_begins_with_an_epoch_collects_at_once(steps, collects):
    case = Case()
    clusters = optimiser_of(case, reassign_interval=1)
    clusters.load_state_dict({**clusters.state_dict(), "steps": steps})
    for batch in an_epoch():
        case.step(batch)
        clusters._collecting.collect()
    assert bool(clusters._collecting.known([("user", False)])) == collects


@pytest.mark.parametrize("found", [False, True])
def test_growth_that_is_tried_again_goes_by_training_unless_rows_were_split_jointly(found, monkeypatch):
    case, passes = Case(), list[int]()
    monkeypatch.setattr(
        policy, "probe_everything", lambda *args: passes.append(clusters.steps) or probe_everything(*args)
    )
    monkeypatch.setattr(ClusterOptimiser, "split_jointly", lambda self: [joint_event(self.steps, found)])
    clusters = optimiser_of(case, reassign_interval=0)
    clusters._schedule._poor_splits["user"] = clusters._schedule._poor_splits["item"] = POOR_SPLITS
    grown = list[int]()
    for _ in range(3):
        for batch in an_epoch():
            case.step(batch)
            grown += [event.step for event in clusters.step() if event.kind == "split"]
    # Nothing but growth is due, and it is first tried again at the end of the second epoch.
    assert grown == [2 * len(an_epoch())] * 2
    assert "evidence" not in str(joint_event(1, found))
    assert passes == (grown[:1] if found else [])


def joint_event(step, found):
    return ClusterEvent(
        "joint split", "user x item", 1, step, 2, 3, 1, 100, math.nan, math.nan, 0.1, directions=found
    )


@pytest.mark.parametrize("evidence", ["training", "passes"])
@pytest.mark.parametrize("interval", [0.5, 1])
def test_growth_looks_at_all_interactions_or_at_none(evidence, interval, monkeypatch):
    """An entity that has two would otherwise be placed by one in the midst of an epoch."""
    case, looked_at = Case(deep=False), dict[str, int]()
    monkeypatch.setattr(reassignment, "sample_size", lambda counts, *rest: len(counts) // 3)
    monkeypatch.setattr(policy, "MAX_PROBED", 0)

    def look(objective, tables, chunk, most):
        name = "user" if tables[0] in user else "item"
        looked_at[name] = looked_at.get(name, 0) + len(chunk.interactions)
        return probe_chunk(objective, tables, chunk, most)

    user = [level for table in case.model.users for level in levels_of(table)]
    monkeypatch.setattr(reassignment, "probe_chunk", look)
    clusters = optimiser_of(case, split_interval=interval, reassign_interval=1, evidence=evidence)
    for batch in an_epoch()[: int(interval * len(an_epoch()))]:
        case.step(batch)
        events = clusters.step()
    assert [(event.kind, event.skipped) for event in events] == [("split", "")] * 2
    if evidence == "training" and interval == 1:
        assert not looked_at
        return
    # Where losses would rise, all are looked at again, to go a part of the way.
    assert looked_at.keys() == {"user", "item"}
    assert all(number >= NUMBER and number % NUMBER == 0 for number in looked_at.values())


@pytest.mark.parametrize(
    ("intervals", "rest", "undisturbed"),
    [
        ({"split_interval": 1, "reassign_interval": 1}, False, True),
        ({"split_interval": 1, "reassign_interval": 0.5}, False, False),
        ({"split_interval": 0.5, "reassign_interval": 1}, False, False),
        # Splits at which nothing grows disturb nothing.
        ({"split_interval": 0.5, "reassign_interval": 1}, True, True),
    ],
)
def test_growth_looks_at_all_interactions_where_clusters_may_change_in_the_epoch(intervals, rest, undisturbed):
    case = Case()
    clusters = optimiser_of(case, **intervals)
    if rest:
        clusters._schedule._poor_splits.update(user=POOR_SPLITS, item=POOR_SPLITS)
    for batch in an_epoch():
        case.step(batch)
        clusters._collecting.collect()
        clusters._schedule.steps += 1
    assert bool(clusters._collecting.known([("user", True), ("item", True)])) == undisturbed
    assert bool(clusters._collecting.known([("user", False)])) == undisturbed
    clusters._schedule.steps += 1
    assert not clusters._collecting.known([("user", False)])


def test_where_nothing_moves_entities_choose_by_training_as_by_a_pass():
    told = []
    for evidence in ("training", "passes"):
        case = Case(deep=False)
        clusters = optimiser_of(case, reassign_interval=1, evidence=evidence)
        # No joint split comes in between.
        clusters.steps = len(an_epoch())
        for batch in an_epoch():
            case.step(batch)
            events = clusters.step()
        assert [event.kind for event in events] == ["reassignment"] * 2 and all(event.moved for event in events)
        told.append([level.assignment.views(torch.arange(PEOPLE)) for level in levels_of(case.model.users[0])])
    same = [(one == other).float().mean() for one, other in zip(*told)]
    assert min(same) > 0.97


@pytest.mark.parametrize("gain", [0.0, 0.1, 1.0, 1e9])
def test_an_entity_moves_only_if_it_gains(gain):
    case = Case(deep=False)
    clusters = optimiser_of(case, reassign_interval=1, reassign_gain=gain, evidence="passes")
    before = clusters.reassign("user")
    again = clusters.reassign("user")
    assert (before.moved > 0) == (gain < 1e9)
    assert (before.row_change > 0) == (before.moved > 0)
    assert again.moved <= before.moved
    assert f"rows by {before.row_change:.1%}" in str(before)
    assert before.scalars()["Clusters/user/reassignment/row_change"] == before.row_change
    assert before.loss_after <= before.loss_before
