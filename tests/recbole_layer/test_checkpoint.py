import collections
import pickle
import random
import sys
from pathlib import Path

import pytest
import recbole.trainer
import torch
import yaml
from tiny_data import write_tiny

from recbole_cel.inputs import yaml_files
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs.allowed import EXCLUDED_KEYS, EXCLUDED_MODELS, check_saved_config
from recbole_cel.runs.checkpoint import CheckpointError
from recbole_cel.runs.resume import load_model_state, load_states
from recbole_cel.trainer import get_trainer

MODEL_PROPERTIES = Path(recbole.__file__).parent / "properties" / "model"
MODELS = sorted({file.stem for file in MODEL_PROPERTIES.glob("*.yaml")} - EXCLUDED_MODELS)


class Counting:
    """A strategy's hook that counts."""

    def __init__(self):
        self.steps = 3

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@pytest.fixture
def trained(options, tmp_path):
    """A short run of FM_CEL; gives its result and its two files."""
    result = run_recbole_cel("FM_CEL", "tiny", config_dict=dict(options))
    files = sorted((tmp_path / "saved").iterdir(), key=lambda file: len(file.name))
    assert len(files) == 2 and files[0].stem == files[1].stem.replace("-last", "")
    return result, *files


def test_round_trip_of_plain_data(tmp_path):
    content = {
        "numbers": [1, 2.5, float("inf"), None, True],
        "text": "x",
        "nested": {"pair": (1, "a"), 3: collections.OrderedDict(a=torch.tensor([1, 2], dtype=torch.int16))},
        "tensor": torch.randn(3, 4),
        "empty": torch.zeros(0, 2),
        "scalar": torch.tensor(3.0),
    }
    checkpoints.write(tmp_path / "a.pth", content)
    back = checkpoints.read(tmp_path / "a.pth")
    assert checkpoints.digest(back) == checkpoints.digest(content)
    assert torch.equal(back["tensor"], content["tensor"])


def test_only_plain_data_is_written_and_nothing_is_left_behind(tmp_path):
    checkpoints.write(tmp_path / "a.pth", {"x": 1})
    with pytest.raises(TypeError, match="plain data only, not set"):
        checkpoints.write(tmp_path / "a.pth", {"x": {1, 2}})
    assert checkpoints.read(tmp_path / "a.pth") == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    checkpoints.write(tmp_path / "a.pth", {"x": 1})

    def full_disk(state, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        checkpoints.write(tmp_path / "a.pth", {"x": 2})
    assert checkpoints.read(tmp_path / "a.pth") == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_cut_off_file(tmp_path, kept):
    file = tmp_path / "a.pth"
    checkpoints.write(file, {"x": torch.randn(1000)})
    data = file.read_bytes()
    file.write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with pytest.raises(CheckpointError, match=r"a\.pth: cut off, damaged"):
        checkpoints.read(file)


def test_flipped_bits_and_edited_content(tmp_path):
    file = tmp_path / "a.pth"
    checkpoints.write(file, {"x": torch.zeros(1000), "model": "FM_CEL"})
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # within the tensor
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="changed after it was written|damaged"):
        checkpoints.read(file)
    checkpoints.write(file, {"x": torch.zeros(1000), "model": "FM_CEL"})
    state = torch.load(file, weights_only=True)
    state["content"]["model"] = "DeepFM_CEL"
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="changed after it was written"):
        checkpoints.read(file)


class Bomb:
    def __reduce__(self):
        return sys.exit, (3,)


@pytest.mark.parametrize("save", [torch.save, lambda thing, file: file.write_bytes(pickle.dumps(thing))])
def test_code_in_a_file_is_not_run(tmp_path, save):
    save({"format": checkpoints.FORMAT, "content": Bomb()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.read(tmp_path / "a.pth")


@pytest.mark.parametrize("thing", [{"format": "other"}, [1, 2], {"format": checkpoints.FORMAT}])
def test_files_of_others(tmp_path, thing):
    torch.save(thing, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        checkpoints.read(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoints.read(tmp_path / "b.pth")


def test_files_of_other_versions(tmp_path):
    torch.save({"format": "recbole_cel checkpoint 1", "content": {}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="another version of recbole_cel.*train again"):
        checkpoints.read(tmp_path / "a.pth")


def test_saved_model_loads_with_its_data(trained, options):
    result, best, _ = trained
    assert torch.load(best, weights_only=True)["content"]["model"] == "FM_CEL"
    config, model, data, train_data, _, test_data = load_data_and_model(str(best))
    assert config["model"] == "FM_CEL" and config["cel_max_clusters"] == 4
    assert config["threshold"] == {"rating": 3}
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]
    assert model.embedding_strategies["user_id"].assignments[0].num_clusters == 4


@pytest.mark.parametrize("model", ["xDeepFM_CEL", "EulerNet", "NFM_DHE"])
def test_models_whose_properties_have_numbers_such_as_5e_4_load(model, options, tmp_path, caplog):
    options = {key: value for key, value in options.items() if "CEL" in model or not key.startswith("cel_")}
    more = {"embedding_budget": "3x"} if "DHE" in model else {}
    result = run_recbole_cel(model, "tiny", config_dict={**options, **more, "epochs": 1})
    (best,) = (file for file in (tmp_path / "saved").glob("*.pth") if not file.stem.endswith("-last"))
    caplog.clear()
    config, loaded, *_, test_data = load_data_and_model(str(best))
    # All options are saved; that some of them are of other strategies is no news.
    assert "no effect" not in caplog.text
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, loaded)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]


@pytest.mark.parametrize("model", MODELS)
def test_what_recbole_says_of_a_model_may_stand_in_a_file(model):
    properties = yaml.load((MODEL_PROPERTIES / f"{model}.yaml").read_text(), yaml_files.Loader) or {}
    config = {key: value for key, value in properties.items() if key not in EXCLUDED_KEYS}
    assert check_saved_config("a.pth", model, {**config, "dataset": "tiny"})


def test_loading_reads_no_pickled_data_set(trained, options, tmp_path):
    (tmp_path / "saved" / "tiny-Dataset.pth").write_bytes(pickle.dumps(Bomb()))
    load_data_and_model(str(trained[1]))
    run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "epochs": 1})


def test_plain_models_run_through_the_same_door(options):
    options.pop("cel_max_clusters")
    result = run_recbole_cel("FM", "tiny", config_dict=options)
    assert set(result) == {"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"}
    assert 0 < result["test_result"]["auc"] < 1


def test_general_recommenders_run_too(options):
    options = {key: value for key, value in options.items() if key != "threshold" and not key.startswith("cel_")}
    result = run_recbole_cel("BPR", "tiny", config_dict=options)
    assert "recall@10" in result["test_result"]


def test_checkpoint_of_another_model(trained, options):
    with pytest.raises(CheckpointError, match=r"it is of model FM_CEL, not of DeepFM_CEL"):
        run_recbole_cel("DeepFM_CEL", "tiny", config_dict={**options, "cel_resume": str(trained[2])})


def test_checkpoint_of_another_size(trained, options):
    options.update(cel_resume=str(trained[2]), cel_max_clusters=5)
    with pytest.raises(
        CheckpointError, match="run to be continued had cel_max_clusters=4, not 5; give the same options"
    ):
        run_recbole_cel("FM_CEL", "tiny", config_dict=options)


def test_model_state_that_does_not_fit_is_refused_before_loading(trained):
    model = load_data_and_model(str(trained[1]))[1]
    before = checkpoints.digest(model.state_dict())
    for name in ("first_order_linear.bias", "token_embedding_table.own.user_id.assignment.codes.words"):
        state = checkpoints.read(trained[1])
        state["state_dict"][name] = state["state_dict"][name].double()
        with pytest.raises(CheckpointError, match="does not fit this model"):
            load_model_state(model, state, "x.pth")
    state["state_dict"][name] = state["state_dict"][name].byte() + 99
    with pytest.raises(CheckpointError, match="are the same in this model, and differ in the file"):
        load_model_state(model, state, "x.pth")
    for other in state["state_dict"]:
        if other.endswith("own.user_id.assignment.codes.words"):
            state["state_dict"][other] = state["state_dict"][name]
    with pytest.raises(CheckpointError, match="bits that belong to no level"):
        load_model_state(model, state, "x.pth")
    assert checkpoints.digest(model.state_dict()[name]) == checkpoints.digest(
        checkpoints.read(trained[1])["state_dict"][name]
    )
    assert before


def test_a_hook_is_as_before_if_the_model_does_not_fit(trained):
    model, hook, state = load_data_and_model(str(trained[1]))[1], Counting(), checkpoints.read(trained[1])
    state["strategy"] = {"steps": 7}
    before = checkpoints.digest(model.state_dict())
    name = "first_order_linear.bias"
    right, state["state_dict"][name] = state["state_dict"][name], state["state_dict"][name].double()
    with pytest.raises(CheckpointError, match="does not fit this model"):
        load_states(model, hook, state, "x.pth")
    assert hook.steps == 3 and checkpoints.digest(model.state_dict()) == before
    state["state_dict"][name] = right
    load_states(model, hook, state, "x.pth")
    assert hook.steps == 7


@pytest.mark.parametrize("change", [{"learning_rate": 0.5}, {"learner": "sgd"}, {"cel_split_interval": 3}])
def test_other_options_are_refused(change, trained, options):
    with pytest.raises(CheckpointError, match=f"the run to be continued had {next(iter(change))}="):
        run_recbole_cel("FM_CEL", "tiny", config_dict={**options, **change, "cel_resume": str(trained[2])})


@pytest.mark.parametrize("extra", [{"eval_step": 0}, {"eval_step": 2, "cel_checkpoint_interval": 3}])
def test_the_file_to_resume_from_does_not_depend_on_evaluation(extra, options, tmp_path):
    run_recbole_cel("FM_CEL", "tiny", config_dict={**options, **extra, "epochs": 5})
    assert checkpoints.read(next((tmp_path / "saved").glob("*-last.pth")))["epoch"] == 4


def test_no_state_is_written_if_none_is_wanted(options, tmp_path):
    run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "cel_checkpoint_interval": 0})
    assert not list((tmp_path / "saved").glob("*-last.pth"))


def test_the_best_model_can_be_resumed_from(trained):
    state = checkpoints.read(trained[1])
    assert state["best_valid_result"]["auc"] == state["best_valid_score"]


@pytest.mark.parametrize("model", ["ItemKNN", "EASE", "LightGCN", "DMF"])
def test_models_that_keep_matrices_are_saved(model, options):
    options = {key: value for key, value in options.items() if key != "threshold" and not key.startswith("cel_")}
    options["inter_matrix_type"] = "01"
    result = run_recbole_cel(model, "tiny", config_dict=options)
    assert 0 < result["test_result"]["recall@10"] <= 1


def test_value_metrics_of_scores_that_are_no_probabilities(options):
    options = {key: value for key, value in options.items() if key != "threshold" and not key.startswith("cel_")}
    mode = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "uni10"}
    options.update(metrics=["AUC"], valid_metric="AUC", eval_args=mode)
    assert 0 < run_recbole_cel("BPR", "tiny", config_dict=options)["test_result"]["auc"] < 1


def test_any_changed_byte_gives_one_clear_error_or_the_same_content(tmp_path):
    file = tmp_path / "a.pth"
    content = {"x": torch.arange(20), "config": {"a": [1, "b", None]}, "state": {"y": torch.randn(3)}}
    checkpoints.write(file, content)
    data, places = file.read_bytes(), random.Random(0)
    for _ in range(500):
        changed = bytearray(data)
        changed[places.randrange(len(data))] ^= 1 << places.randrange(8)
        file.write_bytes(changed)
        try:
            assert checkpoints.digest(checkpoints.read(file)) == checkpoints.digest(content)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_checkpoint_of_another_data_set_or_split(trained, options, tmp_path):
    options["cel_resume"] = str(trained[2])
    with pytest.raises(
        CheckpointError, match="trained on other data; training interactions or features: another split"
    ):
        run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "seed": 1})
    options["data_path"] = str(write_tiny(tmp_path / "other", seed=5))
    file = tmp_path / "other" / "tiny" / "tiny.inter"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1000]))
    with pytest.raises(CheckpointError, match="trained on other data"):
        run_recbole_cel("FM_CEL", "tiny", config_dict=options)


def test_missing_best_model(trained, options):
    trained[1].unlink()
    with pytest.raises(CheckpointError, match="the best model of that run, .* is missing"):
        run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "cel_resume": str(trained[2])})


def test_a_run_that_was_stopped_before_its_first_evaluation_goes_on(options, tmp_path, monkeypatch):
    options.update(eval_step=2, epochs=4)
    whole = run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "checkpoint_dir": "whole"})
    train = recbole.trainer.Trainer._train_epoch

    def stop(trainer, train_data, epoch, *args, **kwargs):
        if epoch == 1:
            raise KeyboardInterrupt
        return train(trainer, train_data, epoch, *args, **kwargs)

    options["checkpoint_dir"] = "parts"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recbole.trainer.Trainer, "_train_epoch", stop)
        run_recbole_cel("FM_CEL", "tiny", config_dict=options)
    last = next((tmp_path / "parts").glob("*-last.pth"))
    assert run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "cel_resume": str(last)}) == whole


def test_a_run_that_went_further_than_is_asked_for_is_not_resumed(trained, options):
    with pytest.raises(CheckpointError, match="that run has trained for 3 epochs; epochs is 2"):
        run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "epochs": 2, "cel_resume": str(trained[2])})


def test_resuming_a_finished_run_gives_its_result(trained, options):
    again = run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "cel_resume": str(trained[2])})
    assert again == trained[0]


@pytest.mark.parametrize(
    ("model", "learner", "levels", "folds"),
    [(model, "adam", 1, 1) for model in ("FM", "FM_CEL", "DeepFM_CEL", "FM_ModuloHash")]
    + [
        pytest.param("FM_CEL", learner, 1, 1, marks=pytest.mark.slow)
        for learner in ("sgd", "adagrad", "rmsprop", "adamw")
    ]
    + [pytest.param("FM_CEL", "adam", 2, 1, marks=pytest.mark.slow), ("DeepFM_CEL", "adam", 3, 2)],
)
@pytest.mark.quick(3)
def test_resumed_run_is_bit_equal(model, learner, levels, folds, options, tmp_path):
    """Two epochs, then four more in another process's place, equal six epochs at once."""
    options.update(learner=learner, cel_levels=levels, cel_reassign_gain=0.0)
    options.update(cel_folds=folds, cel_reassign_candidates=0 if folds > 1 else 3)
    options.update(cel_split_interval=0.7, cel_reassign_interval=0.6)
    options.update(cel_personalisation=True, cel_personalisation_start=4)
    options.update(cel_reassign_keep=0.3, cel_super_clusters=2, cel_super_cluster_weight=0.1)
    whole = run_recbole_cel(model, "tiny", config_dict={**options, "epochs": 6, "checkpoint_dir": "whole"})
    run_recbole_cel(model, "tiny", config_dict={**options, "epochs": 2, "checkpoint_dir": "parts"})
    last = next((tmp_path / "parts").glob("*-last.pth"))
    options.update(epochs=6, checkpoint_dir="parts", cel_resume=str(last))
    resumed = run_recbole_cel(model, "tiny", config_dict=options)
    assert resumed == whole
    one = checkpoints.read(next((tmp_path / "whole").glob("*-last.pth")))
    other = checkpoints.read(last)
    for part in ("state_dict", "optimizer", "strategy", "random", "shuffle", "train_loss"):
        assert checkpoints.digest(one[part]) == checkpoints.digest(other[part]), part
