"""Our options in any spelling are recognised or refused; unknown ones of RecBole are pointed out."""

import sys

import pytest
import yaml

from recbole_cel.config import Config
from recbole_cel.inputs.keys import known_keys
from recbole_cel.model import get_model
from recbole_cel.options import SettingError


def given(how, options, folder, monkeypatch):
    """A configuration with ``options`` given in YAML, in a dict or on the command line."""
    monkeypatch.setattr(sys, "argv", ["x"])
    if how == "yaml":
        (folder / "options.yaml").write_text(yaml.safe_dump(options))
        return Config("FM_CEL", "ml-100k", [str(folder / "options.yaml")])
    if how == "dict":
        return Config("FM_CEL", "ml-100k", config_dict=dict(options))
    monkeypatch.setattr(sys, "argv", ["x", *(f"--{key}={value}" for key, value in options.items())])
    return Config("FM_CEL", "ml-100k")


@pytest.mark.parametrize("how", ["yaml", "dict", "command line"])
@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("CEL_LEVELS", "cel_levels"),
        ("Cel_levels", "cel_levels"),
        ("cel-levels", "cel_levels"),
        ("CEL-Levels", "cel_levels"),
        ("cel_Levels", "cel_levels"),
        ("cel_max-clusters", "cel_max_clusters"),
        ("cellevels", "cel_levels"),
        ("celLevels", "cel_levels"),
        ("cel__levels", "cel_levels"),
        ("cel_levels_", "cel_levels"),
        ("_cel_levels", "cel_levels"),
        ("cel_level", "cel_levels"),
        ("CEL_SPLIT_GAINS", "cel_split_gain"),
        ("cle_levels", "cel_levels"),
        ("cel", "cel_levels"),
        ("Embedding_Strategy", "embedding_strategy"),
        ("embedding-budget", "embedding_budget"),
        ("embeddingbudget", "embedding_budget"),
        ("Task", "task"),
    ],
)
def test_ours_in_another_spelling_is_refused(how, key, meant, tmp_path, monkeypatch):
    with pytest.raises(SettingError) as error:
        given(how, {key: 2}, tmp_path, monkeypatch)
    assert f"{key} is not an option of recbole_cel; did you mean {meant}?" == str(error.value)


@pytest.mark.parametrize("key", [" cel_levels", "cel_levels ", "cel levels", "cel.levels", "CEL:LEVELS"])
@pytest.mark.parametrize("how", ["yaml", "dict"])
def test_ours_with_other_signs_is_refused(how, key, tmp_path, monkeypatch):
    with pytest.raises(SettingError, match="did you mean cel_levels"):
        given(how, {key: 2}, tmp_path, monkeypatch)


@pytest.mark.parametrize("key", [1, None, ("a",), True, "", "  "])
def test_keys_of_a_dict_are_words(key):
    with pytest.raises(SettingError, match="config_dict must have names of options as keys"):
        Config("FM_CEL", "ml-100k", config_dict={key: 1}, command_line=False)


@pytest.mark.parametrize("how", ["yaml", "dict", "command line"])
@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("epoch", "epochs"),
        ("Epochs", "epochs"),
        ("learning-rate", "learning_rate"),
        ("learningrate", "learning_rate"),
        ("lerning_rate", "learning_rate"),
        ("batch_size", "eval_batch_size"),
        ("embeding_size", "embedding_size"),
        ("metric", "metrics"),
        ("user_id_field", "USER_ID_FIELD"),
        ("evalargs", "eval_args"),
        ("mlp_hidden_sizes", "mlp_hidden_size"),
        ("cluster_levels", "cel_levels"),
        ("max_cluster", "cel_max_clusters"),
        ("stop_step", "stopping_step"),
    ],
)
def test_unknown_keys_are_pointed_out_with_the_nearest(how, key, near, tmp_path, monkeypatch, caplog):
    assert given(how, {key: 2}, tmp_path, monkeypatch)[key] == 2
    assert f"{key}: no option that is known of RecBole or recbole_cel; did you mean {near}?" in caplog.text


@pytest.mark.parametrize("key", ["levels", "max_clusters", "Folds", "split-gain", "personalisation"])
def test_ours_without_the_prefix_is_refused(key):
    with pytest.raises(SettingError, match=f"{key} is not an option of FM_CEL; did you mean cel_"):
        Config("FM_CEL", "ml-100k", config_dict={key: 2}, command_line=False)


def test_keys_that_are_like_none_have_no_hint(caplog):
    Config("FM_CEL", "ml-100k", config_dict={"zzzz": 2}, command_line=False)
    assert caplog.messages == ["zzzz: no option that is known of RecBole or recbole_cel"]


def test_flags_of_the_runner_have_no_effect_in_a_dict(caplog):
    Config("FM_CEL", "ml-100k", config_dict={"nproc": 2}, command_line=False)
    assert caplog.messages == ["nproc: no effect here; give it on the command line"]


def test_keys_of_a_model_of_the_user_are_the_users(caplog):
    class Own(get_model("FM")):
        pass

    Own.__module__ = "own_models"
    Config(Own, "ml-100k", config_dict={"own_key": 2, "cell_size": 3}, command_line=False)
    assert not caplog.text


def test_known_keys_pass_without_a_word(caplog):
    keys = {"encoding": "utf-8", "t_depth": 3, "n_layers": 2}
    Config("FM_CEL", "ml-100k", config_dict={**keys, "cel_levels": 2}, command_line=False)
    assert not caplog.text
    assert {"epochs", "load_col", "time-aware", "cel_levels", "embedding_budget", "task"} <= known_keys()
