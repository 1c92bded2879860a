"""Several processes train what one would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_cel.options import SettingError
from recbole_cel.processes import group
from recbole_cel.processes.group import PLACES
from recbole_cel.processes.launch import _is_of_others, _sendable, _take_gpu
from recbole_cel.runs import checkpoint
from recbole_cel.trainer.divergence import DivergenceError

SCRIPT = """
import json, sys
from recbole_cel.__main__ import in_one_line
model, processes, options = json.loads(sys.argv.pop())
def train():
    from recbole_cel.quick_start import run
    print("RESULT", json.dumps(run(model, "tiny", config_dict=options, **processes)["test_result"]))
sys.exit(in_one_line(train))
"""


def test_each_process_has_a_gpu_of_its_own_or_is_refused(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    _take_gpu(0)
    _take_gpu(1)
    with pytest.raises(SettingError, match="more processes than the 2 GPUs here"):
        _take_gpu(2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _take_gpu(2)
    assert taken == [0, 1]


def start(model, number, options, folder, **processes):
    options = {**options, "checkpoint_dir": str(folder), "metric_decimal_place": 9}
    processes["nproc"] = number
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps([model, processes, options])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def outcome(process):
    """Test metrics."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(output.split("RESULT", 1)[1])


def last(folder):
    (file,) = Path(folder).glob("*-last.pth")
    return checkpoint.read(str(file))


def codes(state):
    found = {name: value for name, value in state["state_dict"].items() if not value.is_floating_point()}
    assert found
    return found


def ranks_of(process):
    """The processes that it has started, in order; one more watches over shared memory."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(ranks) == 2
    return ranks


def runs(tmp_path, model, options, numbers=(1, 2)):
    started = [start(model, number, options, tmp_path / str(number)) for number in numbers]
    return [(outcome(one), last(tmp_path / str(number))) for one, number in zip(started, numbers)]


def close(one, other, tolerance):
    assert one.keys() == other.keys()
    assert all(abs(one[key] - other[key]) < tolerance for key in one)


@pytest.mark.quick(1)
@pytest.mark.parametrize("model", ["FM_CEL", "DeepFM_CEL"])
def test_clusters_are_chosen_as_in_one_process(model, options, tmp_path):
    """Rows hardly move between events, so that rounding of sums cannot tip a choice."""
    options.update(cel_levels=4, cel_max_clusters=32, learning_rate=1e-7, cel_reassign_interval=1, epochs=4)
    # What is dropped differs.
    options.update({"dropout_prob": 0.0} if model == "DeepFM_CEL" else {})
    (result, one), (shared, two) = runs(tmp_path, model, options)
    assert all(torch.equal(*pair) for pair in zip(codes(one).values(), codes(two).values()))
    clusters = [value for name, value in codes(one).items() if "codes" in name]
    assert any(len(value.unique()) > 2 for value in clusters)
    assert one["strategy"] == two["strategy"]
    close(result, shared, 1e-6)
    close(one["train_loss"], two["train_loss"], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("FM", {}),
        ("FM", {"train_batch_size": 149}),
        ("DeepFM", {"dropout_prob": 0.0}),
        ("FM_CCE", {"embedding_budget": "4x", "learning_rate": 1e-4}),
        ("MF", {"task": "rating", "threshold": None}),
        (
            "FM",
            {
                "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": False},
                "eval_args": {"mode": "uni20", "group_by": "user"},
                "metrics": ["NDCG"],
                "valid_metric": "NDCG@10",
            },
        ),
    ],
    ids=str,
)
def test_losses_and_metrics_are_those_of_one_process(model, changes, options, tmp_path):
    own = {key: value for key, value in options.items() if not key.startswith("cel_")}
    (result, one), (shared, two) = runs(tmp_path, model, {**own, **changes}, numbers=(1, 3))
    close(one["train_loss"], two["train_loss"], 1e-5 * max(one["train_loss"].values()))
    close(result, shared, 1e-3)
    assert one["state_dict"].keys() == two["state_dict"].keys()


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_another_number_of_processes_resumes(first, then, options, tmp_path):
    options.update(learning_rate=1e-7, epochs=4)
    expected = outcome(start("FM_CEL", then, options, tmp_path / "whole"))
    outcome(start("FM_CEL", first, {**options, "epochs": 2}, tmp_path / "parts"))
    (file,) = (tmp_path / "parts").glob("*-last.pth")
    resumed = start("FM_CEL", then, {**options, "cel_resume": str(file)}, tmp_path / "parts")
    close(outcome(resumed), expected, 1e-6)
    one, two = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert one["epoch"] == two["epoch"] == 3
    assert all(torch.equal(*pair) for pair in zip(codes(one).values(), codes(two).values()))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_run_with_one_line_and_a_checkpoint(rank, options, tmp_path):
    options.update(epochs=500, stopping_step=500)
    process = start("FM_CEL", 2, options, tmp_path / "shared")
    while not list((tmp_path / "shared").glob("*-last.pth")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    os.kill(int(ranks_of(process)[rank]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("recbole_cel:")]
    assert f"process {rank} of 2 died; continue with the same options and --cel_resume=" in line
    assert "Traceback" not in errors
    (file,) = (tmp_path / "shared").glob("*-last.pth")
    done = last(tmp_path / "shared")["epoch"]
    outcome(start("FM_CEL", 1, {**options, "epochs": done + 2, "cel_resume": str(file)}, tmp_path / "shared"))
    assert last(tmp_path / "shared")["epoch"] == done + 1


@pytest.mark.slow
def test_machines_train_together(options, tmp_path):
    """Two groups of one process each, as on two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {key: value for key, value in options.items() if not key.startswith("cel_")}
    expected = outcome(start("FM", 1, own, tmp_path / "alone"))
    machines = [
        start("FM", 1, own, tmp_path / "both", world_size=2, group_offset=rank, port=port) for rank in range(2)
    ]
    results = [outcome(one) for one in machines]
    assert results[0] == results[1]
    close(results[0], expected, 1e-3)


def test_an_address_that_nobody_can_listen_at_is_one_line(options, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = start("FM", 1, options, tmp_path, world_size=2, ip="localhost", port=port)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("recbole_cel:")]
    assert f"ip and port must be where process 0 listens; localhost:{port} fails" in line


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(options, tmp_path):
    options.update(epochs=500, stopping_step=500)
    process = start("FM_CEL", 2, options, tmp_path / "shared")
    while not list((tmp_path / "shared").glob("*-last.pth")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    ranks = ranks_of(process)
    process.kill()
    process.wait()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in ranks):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_is_wrong_in_a_process_is_one_line(options, tmp_path):
    process = start("FM_CEL", 2, {**options, "learning_rate": 1e30}, tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("recbole_cel:")]
    assert "learning_rate is 1e+30, and training has diverged" in line
    assert "Traceback" not in errors


@pytest.mark.parametrize("model", ["DCN", "FM_DHE", "FM_CAFE"])
def test_models_that_need_whole_batches_need_one_process(model, options, tmp_path):
    own = {key: value for key, value in options.items() if not key.startswith("cel_")}
    process = start(model, 2, {**own, "embedding_budget": "3x"} if "_" in model else own, tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"recbole_cel: nproc must be 1: {model} needs whole batches" in errors


@pytest.mark.parametrize("size", [1, PLACES - 1, PLACES, 3 * PLACES + 5])
def test_a_digest_is_of_bits_and_of_their_places(size, monkeypatch):
    monkeypatch.setattr(group, "BLOCKS", 2)
    values = torch.arange(size).to(torch.uint8)
    by_hand = sum(int(bits) * (place % PLACES + 1) for place, bits in enumerate(values))
    assert int(group._digest(values)) == by_hand
    if size > 2:
        assert int(group._digest(values.flip(0))) != by_hand
    weights = torch.randn(3, 4)
    assert int(group._digest(weights)) == int(group._digest(weights.flatten().view(torch.uint8)))
    assert int(group._digest(weights)) != int(group._digest(-weights))


def test_errors_are_sent_as_they_are():
    for error in (SettingError("epochs", "must be 1"), DivergenceError("learning_rate", "is 2"), OSError(2, "no")):
        sent = _sendable(error)
        assert type(sent) is type(error) and str(sent) == str(error)

    class Own(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    assert str(_sendable(Own("a", "b"))) == "Own: a"
    assert _is_of_others(RuntimeError("Connection closed by peer")) and not _is_of_others(SettingError("a", "b"))
