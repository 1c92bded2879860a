"""Runs beside one another, and after one another, in one folder."""

import logging
import shutil
from contextlib import contextmanager
from pathlib import Path

import child
import pytest
import torch

from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs import log, names
from recbole_cel.runs.checkpoint import CheckpointError

PARTS = ("state_dict", "optimizer", "best_valid_result", "train_loss")


ROOT = logging.getLogger()


@contextmanager
def only_our_handlers():
    """The root logger as in a process of its own; pytest's handlers are put back."""
    log.end_log()
    handlers, level = list(ROOT.handlers), ROOT.level
    for handler in handlers:
        ROOT.removeHandler(handler)
    try:
        yield
    finally:
        log.end_log()
        ROOT.setLevel(level)
        for handler in handlers:
            ROOT.addHandler(handler)


def states(folder):
    return [checkpoints.read(file) for file in sorted(folder.glob("saved/*-last.pth"))]


@pytest.mark.parametrize("number", [2, 4, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.quick(1)
def test_runs_of_one_model_at_once(number, options, tmp_path):
    rates = [0.001 * (run + 1) for run in range(number)]
    alone = {}
    for rate in rates[:2]:
        (folder := tmp_path / f"alone-{rate}").mkdir()
        assert child.run({**options, "learning_rate": rate}, folder).code == 0
        (alone[rate],) = states(folder)
    (folder := tmp_path / "together").mkdir()
    runs = [child.start({**options, "learning_rate": rate}, folder) for rate in rates]
    outcomes = [child.finish(*run) for run in runs]
    assert [outcome.code for outcome in outcomes] == [0] * number, [outcome.text for outcome in outcomes]
    found = {state["config"]["learning_rate"]: state for state in states(folder)}
    assert sorted(found) == rates
    for rate, state in alone.items():
        assert all(checkpoints.digest(state[part]) == checkpoints.digest(found[rate][part]) for part in PARTS)
    assert len(list(folder.glob("saved/*"))) == 2 * number and not list(folder.glob("saved/.*"))
    assert len(list(folder.glob("log/FM_CEL/*.log"))) == number == len(list(folder.glob("log_tensorboard/*")))


def test_names_do_not_depend_on_seeds():
    found = set()
    for _ in range(1000):
        torch.manual_seed(0)
        found.add(names.unique_file("saved/FM_CEL-Nov-27-2026_10-00-00.pth"))
    assert len(found) == 1000
    assert all(name.startswith("saved/FM_CEL-Nov-27-2026_10-00-00-") and name.endswith(".pth") for name in found)


def test_one_process_continues_a_run(options, tmp_path):
    run_recbole_cel("FM_CEL", "tiny", config_dict=dict(options))
    (last,) = tmp_path.glob("saved/*-last.pth")
    best = last.with_name(last.name.replace("-last", ""))
    stale, foreign = last.with_name(f".{last.name}.abc.tmp"), last.with_name(".other.pth.abc.tmp")
    stale.touch()
    foreign.touch()
    with names.one_run():
        names.claim(best)
        names.claim(best)
        assert not stale.exists() and foreign.exists()
        outcome = child.run({**options, "cel_resume": last, "epochs": 5}, tmp_path, names._CLAIMED.clear)
        assert outcome.code == 2 and "another process is training this run now" in outcome.one_line()
    assert not list(last.parent.glob("*.lock")) and not list(last.parent.glob(".*.lock"))
    assert child.run({**options, "cel_resume": last, "epochs": 5}, tmp_path).code == 0
    assert checkpoints.read(last)["epoch"] == 4


def test_a_moved_folder_is_resumed_from(options, tmp_path):
    whole = run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "epochs": 5, "checkpoint_dir": "whole"})
    run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "epochs": 2})
    shutil.move(tmp_path / "saved", tmp_path / "elsewhere")
    (last,) = tmp_path.glob("elsewhere/*-last.pth")
    resumed = run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "epochs": 5, "cel_resume": str(last)})
    assert resumed == whole


class Fields(dict):
    def __getitem__(self, key):
        return self.get(key)


@pytest.mark.parametrize("dataset", ["tiny", "ml-1.5m", "a.b.c", ".hidden"])
@pytest.mark.parametrize("others", [0, 1, 2])
@only_our_handlers()
def test_each_log_file_has_its_own_lines(dataset, others, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign = [logging.FileHandler(tmp_path / f"foreign-{number}") for number in range(others)]
    for handler in foreign:
        ROOT.addHandler(handler)
    ROOT.setLevel(logging.WARNING)
    files = []
    for run in range(4):
        files.append(log.start_log(Fields(model="FM_CEL", dataset=dataset, state="INFO")))
        ROOT.info(f"line \033[1;35mof\033[0m run {run}")
        first = next(handler for handler in ROOT.handlers if hasattr(handler, "baseFilename"))
        assert first.baseFilename == str(files[-1]), "TensorBoard's folder has the name of this file"
        assert files[-1].name.count(".") == 1
    log.end_log()
    assert len(set(files)) == 4 and {file.parent for file in files} == {tmp_path / "log" / "FM_CEL"}
    for run, file in enumerate(files):
        assert [line.split("INFO  ")[1] for line in file.read_text().splitlines()] == [f"line of run {run}"]
    assert ROOT.handlers == foreign and ROOT.level == logging.WARNING
    for handler in foreign:
        ROOT.removeHandler(handler)
        handler.close()


@pytest.mark.parametrize(
    ("state", "lines"),
    [("debug", 4), ("INFO", 3), ("Warning", 2), ("error", 1), (None, 3), ("nonsense", 3), (3, 3)],
)
@only_our_handlers()
def test_levels(state, lines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = log.start_log(Fields(model="FM", dataset="tiny", state=state))
    for level in ("debug", "info", "warning", "error"):
        getattr(ROOT, level)("x")
    log.end_log()
    assert len(file.read_text().splitlines()) == lines


@only_our_handlers()
def test_two_runs_in_one_process(options, tmp_path):
    for rate in (0.01, 0.02):
        run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "state": "INFO", "learning_rate": rate})
    first, second = (
        file.read_text() for file in sorted(Path("log/FM_CEL").iterdir(), key=lambda f: f.stat().st_mtime)
    )
    assert "learning_rate = 0.01" in first and "learning_rate = 0.02" not in first and "test result" in first
    assert "learning_rate = 0.02" in second and "learning_rate = 0.01" not in second and "test result" in second
    assert len(list(Path("log_tensorboard").iterdir())) == 2
    assert {path.name for path in Path("log_tensorboard").iterdir()} == {
        path.stem for path in Path("log/FM_CEL").iterdir()
    }


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (model, {})
        for model in ("DeepFM_CEL", "DeepFM", "NFM_CEL", "FM_ModuloHash", "WideDeep_CEL", "DCN", "AFM_CEL")
    ]
    + [("DeepFM_CEL", {"task": "rating", "threshold": None})]
    + [(model, {"threshold": None}) for model in ("MF_CEL", "NeuNMF_CEL")],
)
@pytest.mark.quick(2)
def test_models_are_handed_out_for_evaluation(model, changes, options, tmp_path):
    run_recbole_cel(model, "tiny", config_dict={**options, **changes, "epochs": 1, "dropout_prob": 0.5})
    (best,) = (file for file in tmp_path.glob("saved/*") if "-last" not in file.name)
    config, loaded, _, train, _, _ = load_data_and_model(str(best))
    assert not any(part.training for part in loaded.modules())
    assert {tensor.device for tensor in loaded.state_dict().values()} == {torch.device(config["device"])}
    batch = next(iter(train))
    assert torch.equal(loaded.predict(batch), loaded.predict(batch))


def test_claims_without_a_file_system_that_locks(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("no locks")

    monkeypatch.setattr(names.fcntl, "flock", refuse)
    with names.one_run():
        names.claim(tmp_path / "a.pth")
    monkeypatch.setattr(names.fcntl, "flock", lambda *args: (_ for _ in ()).throw(BlockingIOError()))
    with pytest.raises(CheckpointError, match="another process"), names.one_run():
        names.claim(tmp_path / "a.pth")
