import subprocess
import sys
from dataclasses import fields

import pytest
import torch
import yaml
from recbole.model.context_aware_recommender.fm import FM

from recbole_cel import quick_start
from recbole_cel.config import Config, properties_folder
from recbole_cel.inputs import command_line
from recbole_cel.inputs.plain import literal
from recbole_cel.options import SettingError
from recbole_cel.quick_start import run, run_recbole_cel
from recbole_cel.settings import PREFIX, RUN_OPTIONS, CELSettings


def config(model="DeepFM_CEL", **extra):
    return Config(model, "ml-100k", config_dict=extra, command_line=False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "cel_max_cluster",
            3,
            "cel_max_cluster is not an option of recbole_cel; did you mean cel_max_clusters?",
        ),
        ("cel_personalization", True, "did you mean cel_personalisation"),
        ("cel_max_clusters", 0, "cel_max_clusters must be an integer >= 1"),
        ("cel_max_clusters", {"user_id": 0}, "cel_max_clusters must be"),
        ("cel_max_clusters", {"user": 3, "item_id": 2}, "cel_max_clusters names field 'user'"),
        ("cel_max_clusters", "many", "got 'many'"),
        ("cel_compression_ratio", 0.5, "cel_compression_ratio must be a number >= 1"),
        ("cel_fields", "user_id", "cel_fields must be a list"),
        ("cel_initial_clusters", 0, "cel_initial_clusters must be"),
        ("cel_levels", 0, "cel_levels must be an integer >= 1"),
        ("cel_split_gain", -1, "cel_split_gain must be a number >= 0"),
        ("cel_folds", 0, "cel_folds must be an integer >= 1"),
        ("cel_reassign_candidates", 3, "cel_reassign_candidates must be 0 with 4 folds"),
        ("cel_reassign_entropy", -0.1, "cel_reassign_entropy must be a number >= 0"),
        ("cel_evidence", "epoch", "cel_evidence must be one of training, passes"),
        ("cel_split_criterion", "size", "cel_split_criterion must be one of interactions"),
        ("cel_split_by", "gradient", "cel_split_by must be one of gradients"),
        ("cel_split_by", "kmeans", "cel_split_by must be gradients with 4 folds"),
        ("cel_split_threshold", "mean", "cel_split_threshold must be one of zero"),
        ("cel_split_interval", 0, "cel_split_interval must be a number > 0"),
        ("cel_split_count", -1, "cel_split_count must be"),
        ("cel_reassign_interval", -1, "cel_reassign_interval must be"),
        ("cel_reassign_slowdown", 0.5, "cel_reassign_slowdown must be a number >= 1"),
        ("cel_reassign_gain", float("nan"), "cel_reassign_gain must be"),
        ("cel_reassign_search", -1, "cel_reassign_search must be an integer >= 0"),
        ("cel_reassign_candidates", 1.5, "cel_reassign_candidates must be an integer"),
        ("cel_reassign_keep", 1.1, "cel_reassign_keep must be a number between 0 and 1"),
        ("cel_super_clusters", -1, "cel_super_clusters must be an integer >= 0"),
        ("cel_super_cluster_weight", -1, "cel_super_cluster_weight must be a number >= 0"),
        ("cel_gradient_averaging", 1, "cel_gradient_averaging must be True or False"),
        ("cel_share_first_order", "yes", "cel_share_first_order must be True or False"),
        ("cel_personalisation", "on", "cel_personalisation must be True or False"),
        ("cel_personalisation_lambda", -1, "cel_personalisation_lambda must be"),
        ("cel_personalisation_start", -1, "cel_personalisation_start must be"),
        ("cel_activity_edges", [50, 10], "cel_activity_edges must be two increasing"),
        ("cel_checkpoint_interval", -1, "cel_checkpoint_interval must be"),
        ("cel_resume", 3, "cel_resume must be a path"),
        ("cel_resume", "nowhere.pth", "cel_resume names nowhere.pth, which is no file"),
        ("cel_max_clusters", {"user_id": 3}, "cel_max_clusters gives no number for field item_id"),
        ("embedding_strategy", "modulohash", "did you mean modulo_hash"),
        ("embedding_strategy", "modulo_hash", "--model=DeepFM --embedding_strategy=modulo_hash"),
    ],
)
def test_bad_options_are_one_clear_line(key, value, message):
    with pytest.raises(SettingError) as error:
        config(**{key: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_config_files_are_one_clear_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("cel_levels: [1")
    (tmp_path / "list.yaml").write_text("- cel_levels")
    for name, message in (
        ("none.yaml", "none.yaml, which is no file"),
        ("bad.yaml", "bad.yaml, line 1, column 15: expected"),
        ("list.yaml", "list.yaml, which holds no YAML keys"),
    ):
        with pytest.raises(SettingError, match=f"^config_files names .*{message}") as error:
            Config("FM_CEL", "ml-100k", [str(tmp_path / name)], command_line=False)
        assert "\n" not in str(error.value)


def test_a_data_set_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(SettingError, match="^dataset is nosuch, but there is no .*nosuch.inter") as error:
        run("FM_CEL", "nosuch", config_dict={"data_path": str(tmp_path)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    ["x" * 5000, ["[" * 3000], {"a" * 9000: 1}, 10**9000, "a\nb" * 999, [[0] * 900]],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    "key", [*(PREFIX + name for name in ("levels", "folds", "split_gain")), "embedding_budget", "task"]
)
def test_long_values_are_shown_in_part(key, value):
    with pytest.raises(SettingError) as error:
        config("FM_CEL", **{key: value})
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


@pytest.mark.parametrize("letter", ["x", "9", "=", "-", " ", "[", "é", "a b"])
@pytest.mark.parametrize(
    "before", ["--", "--cel_levels=2 --", "--cel_levels=", "-", "", "--topk ", "--model=", "--cel_"]
)
def test_long_words_are_one_line_of_bounded_length(before, letter):
    with pytest.raises(SettingError) as error:
        *words, last = before.split(" ")
        found = command_line.read([*words, last + letter * 9000, "x"])
        Config(
            **{key: found.flags[key] for key in ("model", "dataset")}, config_dict=found.keys, command_line=False
        )
    assert len(str(error.value)) <= 900 and "\n" not in str(error.value)


def test_every_option_has_a_case_above():
    (mark,) = test_bad_options_are_one_clear_line.pytestmark
    cases = {case[0] for case in mark.args[1]}
    assert {PREFIX + name for name in CELSettings.__dataclass_fields__} <= cases


@pytest.mark.parametrize("model", ["DeepFMM_CEL", "DeepMF"])
def test_unknown_models_name_the_nearest(model):
    with pytest.raises(SettingError, match="did you mean DeepFM"):
        config(model)


@pytest.mark.parametrize("model", ["fm_cel", "FM_Cel", "fmm_CEL"])
def test_the_nearest_keeps_its_strategy(model):
    with pytest.raises(SettingError, match="did you mean FM_CEL"):
        config(model)


def test_models_that_are_not_context_aware_take_no_strategy():
    with pytest.raises(SettingError, match="BPR is no context-aware recommender"):
        config("BPR_CEL")


def test_two_ways_to_set_the_size_exclude_each_other():
    with pytest.raises(SettingError, match="cel_compression_ratio and cel_max_clusters exclude each other"):
        config(cel_max_clusters=3, cel_compression_ratio=20)
    assert config(cel_compression_ratio=20)["cel_max_clusters"] == "auto"


def test_properties_come_in_order():
    plain = config("DeepFM")
    clustered = config("DeepFM_CEL")
    assert clustered["mlp_hidden_size"] == plain["mlp_hidden_size"]
    assert clustered["metrics"] == plain["metrics"] == ["AUC", "LogLoss"]
    assert clustered["learning_rate"] != plain["learning_rate"]
    assert config(learning_rate=0.5)["learning_rate"] == 0.5
    assert clustered["embedding_strategy"] == "cel"
    assert (properties_folder() / "model" / "DeepFM_CEL.yaml").is_file()


@pytest.mark.parametrize(
    ("strategy", "name"), [("cel", "FM_CEL"), ("modulo_hash", "FM_ModuloHash"), ("full", "FM")]
)
def test_strategy_by_key_is_the_model_of_that_name(strategy, name):
    assert config("FM", embedding_strategy=strategy)["model"] == name


def test_command_line(monkeypatch):
    arguments = ["x", "--cel_max_clusters={'user_id':9,'item_id':7}", "--cel_fields=['user_id','item_id']"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--cel_personalisation=true", "--learning_rate=1e-2"])
    made = Config("FM_CEL", "ml-100k")
    assert made["cel_max_clusters"] == {"user_id": 9, "item_id": 7}
    assert made["cel_personalisation"] is True
    assert made["learning_rate"] == 0.01
    assert made["cel_split_interval"] == CELSettings().split_interval


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--cel_max_clusters", "must be written with an equals sign, --cel_max_clusters=3"),
        ("--cel-max-clusters=3", "did you mean cel_max_clusters"),
        ("-cel_fields=x", "must be written as --key=value"),
        ("--cel_resume=a=b", "cel_resume names a=b, which is no file"),
    ],
)
def test_arguments_that_recbole_would_ignore(argument, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", argument, "3"])
    with pytest.raises(SettingError, match=message):
        Config("FM_CEL", "ml-100k")


def test_values_are_not_evaluated(tmp_path):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    assert literal(code) == code
    assert config(some_key=code)["some_key"] == code
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("processes", [{"nproc": 2}, {"world_size": 1}])
@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("FM_CEL", {"clip_grad_norm": {"max_norm": 1}}, "must be left alone with clip_grad_norm"),
        ("FM_CEL", {"save_dataset": True, "enable_scaler": True}, "left alone with save_dataset, enable_scaler"),
        ("FM", {}, "FM has a trainer of its own"),
        ("FM", {}, "nproc must be at most"),
    ],
)
def test_what_several_processes_cannot_do_is_said_before_they_start(
    model, options, message, processes, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["x"])
    if "at most" in message:
        processes = {"nproc": 10_000}
    if "of its own" in message:
        monkeypatch.setattr(quick_start, "get_trainer", lambda *args: object)
    with pytest.raises(SettingError, match=message):
        run(model, "ml-100k", config_dict=options, **processes)


def test_a_strategy_goes_with_a_name():
    with pytest.raises(SettingError, match="not with a class"):
        config(FM, embedding_strategy="cel")


def test_options_without_effect_are_pointed_out(caplog):
    config("DeepFM", cel_split_interval=2)
    assert "no effect on DeepFM" in caplog.text and "--model=DeepFM_CEL" in caplog.text
    caplog.clear()
    config("FM_ModuloHash", cel_max_clusters=5, cel_reassign_gain=2.0)
    assert "cel_reassign_gain: no effect on FM_ModuloHash" in caplog.text and "cel_max_clusters" not in caplog.text
    caplog.clear()
    config("FM_CEL", cel_max_clusters=5, cel_reassign_gain=2.0, cel_personalisation_lambda=0.0)
    assert not caplog.text


def test_the_yaml_shows_the_defaults():
    text = (properties_folder() / "embedding" / "cel.yaml").read_text()
    assert {
        PREFIX + spec.name: spec.default for spec in fields(CELSettings) if spec.name not in RUN_OPTIONS
    } == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("model", "options", "slowdown"),
    [("FM_CEL", {}, 1.5), ("MF_CEL", {}, 1.0), ("FM_CEL", {"task": "rating"}, 1.0),
     ("MF_CEL", {"cel_reassign_slowdown": 2}, 2)],
)  # fmt: skip
def test_a_task_has_defaults_of_its_own(model, options, slowdown):
    assert config(model, **options)["cel_reassign_slowdown"] == slowdown


def test_numbers_too_small_for_the_processor_become_zero_in_a_run_and_not_by_an_import(options):
    torch.set_flush_denormal(False)
    tiny = torch.tensor([1e-40])
    config()
    assert (tiny * 0.5).item() > 0
    run_recbole_cel("LR", "tiny", config_dict={**options, "epochs": 1})
    assert (tiny * 0.5).item() == 0


@pytest.mark.parametrize(("use_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_only_if_it_may_be(use_gpu, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert config(use_gpu=use_gpu)["device"] == torch.device(device)


def test_importing_the_package_leaves_the_metrics_of_recbole_alone():
    code = (
        "import recbole_cel.config, recbole.evaluator as e; before = 'mse' in e.metrics_dict\n"
        "recbole_cel.config.Config('FM', 'ml-100k', command_line=False); print(before, 'mse' in e.metrics_dict)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_rows_of_each_field():
    sizes = {"user_id": 944, "item_id": 1683}
    assert CELSettings().rows(sizes) == {"user_id": 131, "item_id": 131}
    assert CELSettings().rows({"user_id": 19, "item_id": 10**6}) == {"user_id": 19, "item_id": 512}
    assert CELSettings(initial_clusters=12).rows({"user_id": 19}) == {"user_id": 12}
    assert CELSettings().rows({"user_id": 19, "item_id": 5}) == {"user_id": 8, "item_id": 5}
    assert CELSettings(max_clusters=1000).rows(sizes) == {"user_id": 944, "item_id": 1000}
    assert CELSettings(compression_ratio=20).rows(sizes) == {"user_id": 47, "item_id": 84}
    with pytest.raises(
        SettingError, match="cel_initial_clusters is 64, more than the 47 that field user_id may have"
    ):
        CELSettings(compression_ratio=20, initial_clusters=64).rows(sizes)
    with pytest.raises(
        SettingError, match="cel_initial_clusters is 12, more than the 9 that field user_id may have"
    ):
        CELSettings(initial_clusters=12).rows({"user_id": 9})
    assert CELSettings(max_clusters={"user_id": 3, "item_id": 4}).rows(sizes) == {"user_id": 3, "item_id": 4}
    with pytest.raises(SettingError, match="more than the 3 that field user_id may have"):
        CELSettings(max_clusters={"user_id": 3, "item_id": 9}, initial_clusters=4).rows(sizes)


@pytest.mark.parametrize("file", sorted((properties_folder() / "cel").glob("*.yaml")), ids=lambda file: file.name)
def test_config_files_that_come_along_are_read(file):
    wanted = yaml.safe_load(file.read_text())
    made = Config("DeepFM_CEL", "ml-100k", [str(file)], command_line=False)
    assert {key: made[key] for key in wanted} == wanted
    assert any(config("DeepFM_CEL")[key] != value for key, value in wanted.items())


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("embedding_budgett", "embedding_budget"),
        ("embeding_budget", "embedding_budget"),
        ("embedding_stratgy", "embedding_strategy"),
        ("embedding_strategie", "embedding_strategy"),
    ],
)
def test_misspelt_keys_of_all_strategies_are_errors(key, meant):
    with pytest.raises(SettingError, match=f"{key} is not an option of recbole_cel; did you mean {meant}"):
        config(**{key: "20x"})
