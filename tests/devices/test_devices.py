"""What holds on a CPU and on a GPU alike; ``benchmarks/gpu.sh`` runs the latter."""

import sys

import pytest
import torch
from tiny_data import write_tiny
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import AdditiveEmbedding, ClusteredEmbedding, shared_assignments
from recbole_cel.embedding.assignment import look_up_levels
from recbole_cel.evidence import ModuleObjective
from recbole_cel.evidence.bounds import at_once, times_of_memory
from recbole_cel.evidence.grouping import sum_by_id
from recbole_cel.evidence.numerics import ordered_cumsum
from recbole_cel.experiments.pairs import plant_groups
from recbole_cel.quick_start import run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs.repeatable import WORKSPACE, be_repeatable

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, no_gpu])]
FOLDS, SIZES, BATCH = 3, (300, 200), 500


@pytest.fixture
def restored(monkeypatch):
    """What a test asks of PyTorch ends with it."""
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.mark.parametrize(("device", "reproducibility", "expected"), [("cuda", True, True), ("cpu", True, False)])
def test_numbers_are_added_in_one_order_where_a_run_is_to_be_reproducible(
    device, reproducibility, expected, restored, monkeypatch
):
    be_repeatable({"device": torch.device(device), "reproducibility": reproducibility})
    assert torch.are_deterministic_algorithms_enabled() is expected
    if expected:
        be_repeatable({"device": torch.device(device), "reproducibility": False})
        assert not torch.are_deterministic_algorithms_enabled()


def test_bounds_follow_the_memory_of_a_card_and_nothing_else():
    assert at_once(100, torch.device("cpu")) == 100
    assert [times_of_memory(gigabytes << 30) for gigabytes in (0, 1, 3, 16, 24, 80, 141)] == [
        1,
        1,
        2,
        16,
        16,
        64,
        64,
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_sums_are_right(device, restored):
    be_repeatable({"device": torch.device(device), "reproducibility": True})
    ids, values = torch.randint(50, (2000,)), torch.rand(2000, dtype=torch.float64)
    expected = torch.zeros(50, dtype=torch.float64).index_add_(0, ids, values)
    found = [sum_by_id(ids.to(device), values.to(device), 50) for _ in range(2)]
    assert torch.allclose(found[0].cpu(), expected) and torch.equal(*found)
    assert torch.equal(ordered_cumsum(values.to(device)).cpu(), values.cumsum(0))


@pytest.mark.parametrize("device", DEVICES)
def test_codes_are_looked_up_as_they_were_written(device):
    levels = nn.ModuleList(shared_assignments(300, [64, 7, 16, 2], [1, 1, 1, 1], FOLDS)).to(device)
    written = [torch.randint(level.max_clusters, (300, FOLDS + 1)) for level in levels]
    for level, codes in zip(levels, written):
        level.move(torch.arange(300, device=device), codes.to(device))
    ids, folds = torch.randint(300, (500,)), torch.randint(FOLDS, (500,))
    found = look_up_levels(list(levels), ids.to(device), folds.to(device)).by_level().cpu()
    assert torch.equal(found, torch.stack([codes[ids, folds] for codes in written]))


class Products(nn.Module):
    """Inner product of the rows of two fields, and biases."""

    def __init__(self):
        super().__init__()
        self.rows, self.biases = nn.ModuleList(), nn.ModuleList()
        for size in SIZES:
            shared = shared_assignments(size, [8] * 4, [1] * 4, FOLDS)
            for tables, width in ((self.rows, 6), (self.biases, 1)):
                tables.append(AdditiveEmbedding([ClusteredEmbedding(one, width, std=0.05) for one in shared]))

    def forward(self, left, right):
        one, other = self.rows[0](left), self.rows[1](right)
        return (one * other).sum(1) + self.biases[0](left).squeeze(1) + self.biases[1](right).squeeze(1)


class Case:
    """A model on planted groups, on some device."""

    def __init__(self, device, evidence="training"):
        pairs = plant_groups(*SIZES, 20_000, 4, torch.Generator().manual_seed(0))
        self.device, self.ids = device, [ids.to(device) for ids in pairs.ids]
        self.labels = pairs.targets.to(device)
        torch.manual_seed(0)
        self.model = Products().to(device)
        self.objective = ModuleObjective(self.model, ["left", "right"], self.ids, self.labels)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-2, fused=True)
        self.events = []
        self.clusters = ClusterOptimiser(
            {name: [self.model.rows[n], self.model.biases[n]] for n, name in enumerate(("left", "right"))},
            self.objective,
            ClusterSettings(folds=FOLDS, levels=4, evidence=evidence),
            steps_per_epoch=20_000 // BATCH,
            optimiser=self.adam,
            on_event=self.events.append,
        )

    def train(self, steps):
        order = torch.randperm(20_000, generator=torch.Generator().manual_seed(0)).to(self.device)
        for batch in (order.split(BATCH) * 10)[:steps]:
            self.adam.zero_grad()
            columns = (ids[batch] for ids in self.ids)
            outputs = self.objective.training_outputs(*columns, interactions=batch)
            nn.functional.binary_cross_entropy_with_logits(outputs, self.labels[batch]).backward()
            self.adam.step()
            self.clusters.step()
        return self

    def codes(self):
        levels = [tables[0].assignment for of_field in self.clusters.fields.values() for tables in of_field]
        ids = [torch.arange(level.num_entities, device=self.device) for level in levels]
        return torch.cat([level.views(some).flatten() for level, some in zip(levels, ids)]).cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("evidence", ["training", "passes"])
def test_events_choose_as_they_do_on_a_cpu(device, evidence, restored):
    be_repeatable({"device": torch.device(device), "reproducibility": True})
    expected = Case("cpu", evidence).train(20)
    expected.clusters.split("left")
    before = expected.model.state_dict()
    found = Case(device, evidence)
    found.model.load_state_dict(before)
    found.clusters.load_state_dict(expected.clusters.state_dict())
    assert torch.equal(found.codes(), expected.codes())
    for case in (expected, found):
        case.clusters.reassign("left")
        case.clusters.split("right")
    same = (found.codes() == expected.codes()).double().mean()
    # Rounding may decide between clusters that are as good as each other.
    assert same > 0.97
    for one, other in zip(found.events[-2:], expected.events[-2:]):
        assert one.loss_after == pytest.approx(other.loss_after, rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_joint_split_finds_what_it_finds_on_a_cpu(device):
    found, expected = Case(device).train(1), Case("cpu").train(1)
    (one,), (other,) = ([event for event in case.events if event.directions] for case in (found, expected))
    assert one.directions == other.directions > 1
    assert one.agreement == pytest.approx(other.agreement, rel=1e-2)
    assert (found.codes() == expected.codes()).double().mean() > 0.97


@pytest.mark.parametrize("device", DEVICES)
def test_all_events_of_some_epochs_twice_give_the_same_bits(device, restored):
    be_repeatable({"device": torch.device(device), "reproducibility": True})
    one, other = (Case(device).train(3 * (20_000 // BATCH)) for _ in range(2))
    assert len(one.events) > 6
    assert checkpoints.digest(one.model.state_dict()) == checkpoints.digest(other.model.state_dict())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", ["FM_CEL", "DeepFM_CEL"])
def test_the_same_seed_gives_the_same_run(device, model, tmp_path, monkeypatch, restored):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    options = {
        "data_path": str(write_tiny(tmp_path)),
        "threshold": {"rating": 3},
        "load_col": {"inter": ["user_id", "item_id", "rating"]},
        "epochs": 4,
        "train_batch_size": 256,
        "show_progress": False,
        "state": "WARNING",
        "use_gpu": device != "cpu",
    }
    states = []
    for folder in ("one", "other"):
        run_recbole_cel(model, "tiny", config_dict={**options, "checkpoint_dir": folder})
        states.append(checkpoints.read(next((tmp_path / folder).glob("*-last.pth"))))
    for part in ("state_dict", "optimizer", "strategy", "train_loss"):
        assert checkpoints.digest(states[0][part]) == checkpoints.digest(states[1][part]), part
