"""A stranger's checkpoint is right or one line: it runs no code, crashes nothing, and changes nothing."""

import copy
import math
import zipfile
from pathlib import Path

import pytest
import torch
from hostile import OF_LOADING, OF_RESUMING, clusters_out_of_range, forge

from recbole_cel.config import Config
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs.allowed import check_saved_config
from recbole_cel.runs.checkpoint import CheckpointError
from recbole_cel.runs.validate import check_model_state


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, in a folder of its own: options and the state after its last epoch."""
    from tiny_data import write_tiny

    folder = tmp_path_factory.mktemp("run")
    write_tiny(folder / "data")
    options = {
        "data_path": str(folder / "data"),
        "threshold": {"rating": 3},
        "load_col": {"inter": ["user_id", "item_id", "rating"]},
        **{"epochs": 2, "train_batch_size": 512, "embedding_size": 4, "show_progress": False, "state": "ERROR"},
        **{
            "cel_max_clusters": 4,
            "cel_levels": 1,
            "cel_split_gain": 0.0,
            "metrics": ["AUC"],
            "valid_metric": "AUC",
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        run_recbole_cel("FM_CEL", "tiny", config_dict=dict(options))
        (last,) = (folder / "saved").glob("*-last.pth")
    return folder, options, last.name, checkpoints.read(last)


@pytest.fixture
def here(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    folder, options, name, state = run
    best = name.replace("-last", "")
    (tmp_path / best).write_bytes((folder / "saved" / best).read_bytes())
    return options, tmp_path / name, copy.deepcopy(state)


def refused(use):
    states = torch.get_rng_state(), Path("ran").exists()
    with pytest.raises(CheckpointError) as error:
        use()
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert not Path("ran").exists() and not states[1]
    return str(error.value)


@pytest.mark.parametrize("case", OF_LOADING)
def test_what_a_file_may_not_say_is_refused(case, here):
    _, file, state = here
    forge(file, state)
    load_data_and_model(str(file))  # as it is, it is fine
    OF_LOADING[case](state)
    forge(file, state)
    assert file.name in refused(lambda: load_data_and_model(str(file)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cel_activity_edges", [100, 50_000]),
        ("cel_max_clusters", 5_000),
        ("cel_checkpoint_interval", 2_000),
        ("cel_split_gain", 2_000),
        ("threshold", {"rating": 3, "timestamp": 880_000_000}),
        ("train_neg_sample_args", {"sample_num": 2_000}),
    ],
)
def test_large_numbers_that_size_nothing_may_stand_in_a_file(key, value):
    config = {"dataset": "tiny", key: value}
    assert check_saved_config("a.pth", "FM_CEL", config, largest=60) == config
    with pytest.raises(CheckpointError, match="the largest size in it is 1024"):
        check_saved_config("a.pth", "FM_CEL", {**config, "embedding_size": 2_000}, largest=60)


@pytest.mark.parametrize("case", OF_RESUMING)
def test_what_would_crash_a_resumed_run_is_refused(case, here):
    options, file, state = here
    OF_RESUMING[case](state)
    forge(file, state)
    config_dict = {**options, "epochs": 3, "cel_resume": str(file)}
    assert file.name in refused(lambda: run_recbole_cel("FM_CEL", "tiny", config_dict=config_dict))


@pytest.mark.parametrize(
    ("buffer", "value", "words"),
    [
        ("running_var", -1.0, "has negative numbers"),
        ("running_var", math.nan, "has numbers that are not finite"),
        ("running_mean", math.inf, "has numbers that are not finite"),
        ("num_batches_tracked", -7, "has negative numbers"),
    ],
)
def test_moments_of_layers_that_normalise_are_numbers(buffer, value, words):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_model_state("a.pth", model, saved)
    saved[f"1.{buffer}"].fill_(value)
    with pytest.raises(CheckpointError, match=f"a.pth: 1.{buffer} {words}"):
        check_model_state("a.pth", model, saved)


@pytest.mark.parametrize(
    "case", ["deep", "shared lists", "shared dicts", "many", "expanded", "sparse", "compressed"]
)
def test_what_unfolds_is_refused_at_once(case, here):
    _, file, state = here
    value = "x"
    if case == "deep":
        for _ in range(400):
            value = [value]
    elif case == "shared lists":
        for _ in range(60):
            value = [value] * 2
    elif case == "shared dicts":
        for _ in range(60):
            value = {"a": value, "b": value}
    elif case == "many":
        value = [0] * (checkpoints.MAX_VALUES + 1)
    elif case == "expanded":
        value = torch.zeros(1).expand(10**10)
    elif case == "sparse":
        value = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,))
    state["other_parameter"] = {"x": value}
    torch.save({"format": checkpoints.FORMAT, "digest": "0" * 64, "content": state}, file)
    if case == "compressed":
        state["other_parameter"] = {}
        forge(file, state)
        with zipfile.ZipFile(file) as archive:
            parts = {part.filename: archive.read(part) for part in archive.infolist()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    refused(lambda: load_data_and_model(str(file)))


def test_data_are_read_where_they_are_and_written_nowhere_else(here):
    """The folder that a file names counts only if the data lie there already."""
    options, file, state = here
    state["data_path"] = str(file.parent / "nowhere")
    forge(file, state)
    assert "its data set tiny is not at" in refused(lambda: load_data_and_model(str(file)))
    config = load_data_and_model(str(file), {"data_path": options["data_path"]})[0]
    assert config["data_path"] == f"{options['data_path']}/tiny"
    assert not (file.parent / "nowhere").exists()


def test_nothing_of_this_machine_is_saved(run):
    _, _, _, state = run
    assert not {"gpu_id", "checkpoint_dir", "worker", "local_rank", "dataset_save_path"} & state["config"].keys()
    config = Config("FM_CEL", state["config"]["dataset"], config_dict=state["config"], command_line=False)
    assert all(config[key] == value for key, value in state["config"].items() if key != "train_neg_sample_args")


@pytest.mark.parametrize(("first", "then"), [(True, False), (False, True)])
def test_a_refused_state_changes_nothing(here, first, then):
    """The model, its optimiser and the generators are as they were."""
    from recbole.data import create_dataset, data_preparation

    from recbole_cel.model import get_model
    from recbole_cel.trainer import get_trainer

    options, file, state = here
    if first:
        clusters_out_of_range(state)
    if then:
        state["random"]["numpy"][2] = 10**6
    forge(file, state)
    config = Config("FM_CEL", "tiny", config_dict={**options, "epochs": 4}, command_line=False)
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    model = get_model("FM_CEL")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "FM_CEL")(config, model)
    trainer.attach(train_data, valid_data, test_data)

    def digest():
        states = [model.state_dict(), trainer.optimizer.state_dict(), trainer.strategy_hook.state_dict()]
        return checkpoints.digest([*states, torch.get_rng_state()])

    before = digest()
    refused(lambda: trainer.resume_checkpoint(str(file)))
    assert before == digest() and trainer.start_epoch == 0
