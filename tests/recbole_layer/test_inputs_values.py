"""Values that RecBole would stumble over are one line, before any data are read; all that it takes, pass."""

import sys
from importlib.resources import files

import pytest
from recbole.config import Config as RecBoleConfig

from recbole_cel.config import Config
from recbole_cel.inputs import yaml_files
from recbole_cel.options import SettingError

RECBOLE = files("recbole") / "properties"
MODELS = sorted(
    file.name[: -len(".yaml")]
    for file in (RECBOLE / "model").iterdir()
    if file.name.endswith(".yaml") and file.name not in ("lightgbm.yaml", "xgboost.yaml")
)
BAD = [
    ("embedding_size", [0, -1, 1.5, "ten", "", None, True, [64], 10**9, float("nan"), {}], "an integer from 1"),
    ("epochs", [-1, 0, 1.5, "many", None, True, [3], 10**9, 1e3, {}, "3 epochs"], "an integer from 1"),
    ("train_batch_size", [0, -1, 2.5, "all", None, True, [1], 10**12, {}, "64x"], "an integer from 1"),
    ("eval_batch_size", [0, -1, 2.5, "all", None, True, [1], 10**12, {}, "64x"], "an integer from 1"),
    ("seed", [-1, 2**32, 1.5, "x", None, True, [1], {}, 10**30, "0x"], "an integer from 0"),
    ("eval_step", [-1, 1.5, "x", None, True, [1], {}, 10**9, "1 2", float("inf")], "an integer from 0"),
    ("stopping_step", [-1, 1.5, "x", None, True, [1], {}, 10**9, "1 2", float("inf")], "an integer from 0"),
    (
        "learning_rate",
        [-1, "fast", None, True, [0.1], {}, float("nan"), float("inf"), 10**400, "1e-3x", "1/1000", "1,5"],
        "a number >= 0",
    ),
    ("weight_decay", [-1, {}, None, True, [0.1], "x", float("nan"), float("inf"), 10**400, "-1"], "a number >= 0"),
    ("dropout_prob", [-0.1, 1.1, "x", None, True, [0.1], {}, float("nan"), 50, "50%"], "a number from 0 to 1"),
    (
        "mlp_hidden_size",
        [[], [0], [64, -1], [1.5], ["a"], 64, "64", "64,32", None, [[64]], [True], [10**9], {}],
        "a list of integers",
    ),
    ("topk", [0, -1, [], [0], [5, "a"], "5,10", None, 1.5, [1.5], {}, True, [10**9], "ten"], "an integer >= 1 or"),
    ("learner", ["adamm", "", "Adma", None, 1, True, ["adam"], {}, "adam ", "lbfgs"], "one of adam, adamw"),
    ("state", ["INFORMATION", "", None, 1, True, ["INFO"], {}, "warn", "loud", "INFO "], "one of info"),
    ("worker", [-1, 1.5, "x", None, True, [1], {}, 10**9, "1 2", "all"], "an integer from 0"),
    ("clip_grad_norm", [5, "5", {}, [5], {"norm": 5}, {"max_norm": "x"}, {"max_norm": -1}, True,
                        {"max_norm": 5, "x": 1}, {"max_norm": float("nan")}], "a dict such as"),
    ("transform", ["mask", "", 1, [], True, {}, "Mask_itemseq", "os.system", "crop", 0], "one of mask_itemseq"),
    ("load_col", ["inter", ["user_id"], {"inter": "user_id"}, {"inter": None}, {"inter": [1]}, {1: ["a"]},
                  {"inter": {"a": 1}}, 3, True, {"": ["a"]}, {"inter": [""]}], "the columns of each file"),
    ("unload_col", ["inter", ["a"], {"inter": "a"}, {"inter": "*"}, {"inter": None}, {"inter": [1]}, {1: ["a"]},
                    3, True, {"inter": [""]}], "the columns of each file"),
    ("threshold", [4, "4", {}, {"rating": None}, {"rating": "4"}, {"rating": 4, "x": 1}, {1: 4}, [4],
                   {"rating": float("nan")}, {"rating": [4]}, {"": 4}, True], "one column with a number"),
    ("val_interval", ["[1,2]", {"rating": 3}, {"rating": "3"}, {"rating": "[3"}, {"rating": "[5,3]"}, {1: "[1,2]"},
                      [1, 2], 3, True, {"rating": "[a,b]"}], "intervals of columns"),
    ("user_inter_num_interval", [5, "5", "[5", "[5,inf", "[a,b]", "[5,3]", "", {}, True, "[1,2,3]", "5,inf"],
     "an interval such as"),
    ("normalize_field", ["age", {"age": 1}, [1], 3, True, [None], [""], "a,b", [["a"]], 1.5], "a list of names"),
    ("numerical_features", ["age", {"age": 1}, [1], 3, True, [None], [""], None, [["a"]], 1.5], "a list of names"),
    ("benchmark_filename", ["train", [], ["a"], ["a", "b"], ["a", "b", "c", "d"], ["a", "a", "b"], [1, 2, 3], {},
                            3, True, ["a", "", "b"]], "three ends of file names"),
    ("USER_ID_FIELD", [1, "", None, ["user_id"], True, {}, 1.5, " ", [], "item_id"], ""),
    ("LABEL_FIELD", [1, "", ["label"], True, {}, 1.5, " ", [], ("a",), 0], "the name of a column"),
    ("show_progress", ["yes", "on", 2, None, [], {}, 1.5, "", "0x", -1], "True or False"),
    ("reproducibility", ["yes", "on", 2, None, [], {}, 1.5, "", "0x", -1], "True or False"),
    ("rm_dup_inter", ["both", "", 1, True, [], {}, "First", "last ", 0.5, ["first"]], "first, last or False"),
    ("encoding", ["utf-9", "", 1, True, [], {}, "latin-99", "os", "x\0", "é"], "the name of an encoding"),
    ("discretization", [{"age": "ED"}, {"age": {"method": "ED"}}, {"age": {"method": "X"}}, "age", ["age"],
                        3, True,
                        {"age": {"method": "ED", "bucket": 0}}, {1: {"method": "LD"}}, {"age": {}}], "such as"),
    ("metrics", ["AUCC", [], ["AUC", "NDCG"], ["GAUC"], ["Recall"], "NDCG", None, 3, [3], {}, ["AUC", "AUX"],
                 ["AUC@10"], True], ""),
    ("valid_metric", ["NDCG@10", "AUC@10", "", None, 3, [], {}, "auc ", "NDCG", True], "one of those in metrics"),
    ("eval_args", ["labeled", [], 3, None, {"mode": "full"}, {"mode": "labelled"}, {"mode": "uni"},
                   {"mode": "unix"}, {"mode": "uni0"}, {"mode": 3},
                   {"mode": {"valid": "labeled", "tset": "labeled"}},
                   {"mode": "labeled", "order": "random"}, {"mode": "labeled", "group_by": "item"},
                   {"mode": "labeled", "group_by": 3}, {"mode": "labeled", "split": None},
                   {"mode": "labeled", "split": [0.8, 0.1, 0.1]}, {"mode": "labeled", "split": {"RS": [0.8, 0.2]}},
                   {"mode": "labeled", "split": {"RS": [0, 1, 1]}}, {"mode": "labeled", "split": {"RS": "8:1:1"}},
                   {"mode": "labeled", "split": {"RS": [0.8, -0.1, 0.3]}},
                   {"mode": "labeled", "split": {"LS": "all"}}, {"mode": "labeled", "split": {}},
                   {"mode": "labeled", "split": {"RS": [0.8, 0.1, float("nan")]}},
                   {"mode": "labeled", "split": {"XX": [8, 1, 1]}}], ""),
    ("train_neg_sample_args", ["uniform", [], 3, True, {"distribution": "normal"}, {"sample_num": 0},
                               {"sample_num": 1.5}, {"sample_num": "x"}, {"alpha": -1}, {"alpha": "x"},
                               {"dynamic": "yes"}, {"dynamic": True, "candidate_num": 0}, {"candidate_num": -1}],
     "must be"),
    ("n_layers", ["two", [2], {}, "", float("nan"), float("inf"), "2x", (2,), [[]], "1 2"], "a number such as"),
    ("gpu_id", [None, 1.5, True, {}, [0], -2, "0;1", ("0", None), "$x", 10**9], "the number of a GPU"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "values", "message"), BAD, ids=[case[0] for case in BAD])
def test_bad_values_are_one_line(key, values, message):
    assert len(values) >= 10
    model = "NFM" if key in ("dropout_prob", "mlp_hidden_size") else "LightGCN" if key == "n_layers" else "FM_CEL"
    for value in values:
        with pytest.raises(SettingError) as error:
            Config(model, "ml-100k", config_dict={key: value}, command_line=False)
        assert message in str(error.value), value
        assert str(error.value).startswith((key, "ITEM_ID_FIELD", "metrics")), value
        assert "\n" not in str(error.value) and len(str(error.value)) < 350


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("MF_CEL", {"LABEL_FIELD": "label"}, "LABEL_FIELD must be RATING_FIELD (rating)"),
        ("NMF", {"LABEL_FIELD": "click"}, "LABEL_FIELD must be RATING_FIELD (rating)"),
        ("MF", {"LABEL_FIELD": "rating", "RATING_FIELD": "stars"}, "LABEL_FIELD must be RATING_FIELD (stars)"),
        ("FM_CEL", {"task": "rating", "LABEL_FIELD": "label"}, "LABEL_FIELD must be RATING_FIELD (rating)"),
        ("FM", {"normalize_field": ["age"], "normalize_all": True}, "normalize_field and normalize_all exclude"),
        ("FM", {"log_wandb": True}, "log_wandb needs the package wandb (pip install wandb)"),
        ("FM", {"unload_col": {"inter": ["a"]}}, "load_col and unload_col exclude each other"),
        ("AutoInt", {"attention_size": 7}, "attention_size must be a multiple of num_heads, 2, got 7"),
        (
            "SASRec",
            {"hidden_size": 63, "train_neg_sample_args": None},
            "hidden_size must be a multiple of n_heads",
        ),
        ("SASRec", {}, "RecBole does not take this: train_neg_sample_args"),
        ("SASRec", {"repeatable": False, "train_neg_sample_args": None}, "RecBole does not take this: Sequential"),
        ("BPR", {"metrics": ["Recall"]}, "valid_metric must be one of those in metrics, Recall@10, got 'MRR@10'"),
        ("BPR", {"topk": [5]}, "valid_metric must be one of those in metrics, Recall@5"),
        ("BPR", {"metrics": ["GAUC"], "eval_args": {"mode": "labeled"}}, "metrics holds GAUC, for ranked lists"),
        ("BPR", {"metrics": ["AUC"], "valid_metric": "AUC"}, "metrics holds AUC, for single scores"),
        ("BPR", {"eval_args": {"mode": {"valid": "full", "test": "labeled"}}}, "it is labeled for test"),
        ("FM_CEL", {"cel_folds": 10**9}, "cel_folds must be an integer >= 1 and <= 64, got 1000000000"),
        ("FM_CEL", {"cel_levels": 10**9}, "cel_levels must be an integer >= 1 and <= 256"),
        ("FM_CEL", {"cel_super_clusters": 10**9}, "cel_super_clusters must be an integer >= 0 and <= 65536"),
        ("FM_CEL", {"cel_split_interval": 10**400}, "cel_split_interval must be a number > 0"),
        ("FM_CEL", {"embedding_budget": "1e999 rows"}, "embedding_budget must be such as"),
    ],
)
def test_what_does_not_go_together_is_one_line(model, options, message):
    with pytest.raises(SettingError) as error:
        Config(model, "ml-100k", config_dict=options, command_line=False)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("MF", {"LABEL_FIELD": "stars", "RATING_FIELD": "stars"}),
        ("BPR", {"metrics": "ndcg", "valid_metric": "ndcg@10"}),
        ("BPR", {"metrics": ["GAUC"], "valid_metric": "gauc"}),
        ("BPR", {"topk": 10, "eval_args": {"mode": {"valid": "uni100"}}}),
        ("BPR", {"metrics": ["Recall"], "eval_step": 0}),
        ("FM", {"eval_args": {"mode": "labeled", "split": {"RS": [8, 1, 1]}, "group_by": "None"}}),
        ("FM", {"eval_args": {"mode": "uni100", "split": {"LS": "valid_only"}, "order": "TO"}}),
        ("FM", {"eval_args": {"mode": "labeled", "split": {"TS": [0.8, 0.1, 0.1]}, "order": "TO"}}),
        ("BPR", {"train_neg_sample_args": {"distribution": "popularity", "alpha": 0.5, "dynamic": True,
                                           "candidate_num": 5}}),
        ("FM", {"train_neg_sample_args": "None", "train_batch_size": 2**20, "gpu_id": "", "learner": "AdamW"}),
        ("FM", {"user_inter_num_interval": [5, 10], "item_inter_num_interval": "[1,2];(4,inf)"}),
        ("FM", {"val_interval": {"rating": "[3,inf)", "user_id": ["1", "2"]}, "show_progress": 0}),
        ("FM", {"load_col": None, "LABEL_FIELD": None, "TIME_FIELD": None, "rm_dup_inter": "first"}),
        ("FM", {"load_col": {"inter": "*", "user": ["user_id", "age"]}, "additional_feat_suffix": ["kg"]}),
        ("FM", {"epochs": 1, "learning_rate": 0, "clip_grad_norm": {"max_norm": 5, "norm_type": 2}}),
        ("FM", {"discretization": {"age": {"method": "ED", "bucket": 3}}, "numerical_features": ["age"]}),
        ("SASRec", {"train_neg_sample_args": None, "loss_type": "CE"}),
    ],
)  # fmt: skip
def test_good_values_pass_unchanged(model, options, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x"])
    made = Config(model, "ml-100k", config_dict=dict(options))
    for key, value in options.items():
        if key not in ("metrics", "topk", "eval_args", "train_neg_sample_args", "gpu_id"):
            assert made[key] == value
    if model != "MF":
        assert made.final_config_dict == {
            **RecBoleConfig(model, "ml-100k", config_dict=dict(options)).final_config_dict,
            "task": "label",
        }


@pytest.mark.parametrize("model", MODELS)
def test_property_files_of_recbole_pass_unchanged(model, monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["x"])
    file = str(RECBOLE / "model" / f"{model}.yaml")
    options = yaml_files.read(file) if model != "Pop" else {}  # which has an empty one
    # Those with a loss over all items draw no negatives, which RecBole leaves to the user to say.
    needed = {"train_neg_sample_args": None} if options.get("loss_type") == "CE" else {}
    for dataset in ("ml-100k", "other"):
        theirs = RecBoleConfig(model, dataset, config_dict=dict(needed)).final_config_dict
        for config_files in ([], [file] if options else []):
            made = Config(model, dataset, config_files, config_dict=dict(needed))
            assert made.final_config_dict == {**theirs, "task": "label"}
    assert not caplog.text


@pytest.mark.parametrize("model", ["FM_CEL", "BPR", "CKE", "SASRec"])
def test_property_files_of_data_sets_pass(model, caplog):
    quick = "quick_start_config"
    for name in (
        "dataset/ml-100k",
        "dataset/sample",
        "overall",
        f"{quick}/knowledge_base",
        f"{quick}/context-aware_ml-100k",
        f"{quick}/sequential_embedding_model",
    ):
        options = {"train_neg_sample_args": None} if model == "SASRec" else {}
        if model == "FM_CEL" and name == "overall":
            options = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}
        if model == "SASRec" and name == "overall":
            options["repeatable"] = True
        Config(model, "other", [str(RECBOLE / f"{name}.yaml")], config_dict=options, command_line=False)
    assert "no option that is known" not in caplog.text
