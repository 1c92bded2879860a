"""Labels, ratings and parts that nothing can be learned or measured from are named before training."""

import pytest
import torch
from atomic_data import ROWS, check_one_line, interactions, prepared, with_column, write_files

from recbole_cel.options import SettingError
from recbole_cel.quick_start import run_recbole_cel

LABELS = {"load_col": {"inter": ["user_id", "item_id", "label"]}, "threshold": None}
RATINGS = {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "threshold": None}
IDS = {"load_col": {"inter": ["user_id", "item_id"]}, "threshold": None}


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])


def evaluated(split, mode="labeled", group_by=None):
    return {"eval_args": {"split": split, "order": "RO", "group_by": group_by, "mode": mode}}


def mixed(n):
    return str(n * 7 % 5 % 2)


NO_LABELS = {
    "-1 and 1": (lambda n: "-1" if n % 3 else "1", ["label", "0 or 1", "-1, 1", "threshold"]),
    "1 and 2": (lambda n: str(1 + n % 2), ["0 or 1", "1, 2", "{label: 2}"]),
    "1 to 5": (lambda n: str(1 + n % 5), ["1, 2, 3, 4, 5", "{label: 3}"]),
    "fractions": (lambda n: ".3" if n % 2 else ".6", ["0.3, 0.6"]),
    "one fraction": (lambda n: ".5" if n % 10 == 3 else mixed(n), ["0, 0.5, 1"]),
    "percent": (lambda n: str(n % 101), ["0 or 1", ", ..."]),
    "one large": (lambda n: "1e9" if n % 10 == 3 else mixed(n), ["1e+09"]),
    "all 1": (lambda n: "1", ["label is 1 in all 96 rows of training", "nothing to learn"]),
    "all 0": (lambda n: "0", ["label is 0 in all 96 rows of training", "threshold"]),
    "all 5": (lambda n: "5", ["0 or 1", "holds 5"]),
    "hole": (lambda n: "" if n % 7 == 0 else mixed(n), ["line 2, column label", "18 of 120"]),
    "text": (lambda n: "yes" if n % 2 else "no", ["line 2, column label", "'no'"]),
    "truths among numbers": (lambda n: "True" if n == 50 else mixed(n), ["line 52, column label", "True"]),
    "a single 1": (lambda n: str(int(n == 3)), ["label is 0", "column label"]),
}


@pytest.mark.parametrize("model", ["FM_CEL", "FM"])
@pytest.mark.parametrize("case", NO_LABELS)
def test_labels_are_0_or_1_and_not_all_equal(case, model, tmp_path):
    value, words = NO_LABELS[case]
    check_one_line(words, write_files(tmp_path, inter=with_column("label:float", value)), model, **LABELS)


@pytest.mark.parametrize("header", ["label:token", "label:token_seq", "label:float_seq"])
def test_labels_are_of_type_float(header, tmp_path):
    write_files(tmp_path, inter=with_column(header, mixed))
    check_one_line(["line 1, column label", header.split(":")[1], "float"], tmp_path, **LABELS)


@pytest.mark.parametrize("value", [mixed, lambda n: ["False", "True"][int(mixed(n))], lambda n: mixed(n) + ".0"])
def test_labels_in_any_spelling_work(value, tmp_path):
    train = prepared(write_files(tmp_path, inter=with_column("label:float", value)), **LABELS)[1]
    assert train._dataset.inter_feat["label"].unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("threshold", [0, 1, -3, 6, 1e9, 5.5])
def test_thresholds_that_all_are_above_or_below_are_named(threshold, tmp_path):
    words = [f"column rating with threshold {threshold:g}", "all 96 rows of training", "change the threshold"]
    check_one_line(words, write_files(tmp_path), threshold={"rating": threshold})


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("model", ["FM", "DeepFM_CEL"])
def test_an_undefined_auc_is_named(part, model, tmp_path):
    values = [[mixed(n) for n in range(100)], [mixed(n) for n in range(10)], [mixed(n) for n in range(10)]]
    values[1 + (part == "test")] = ["1"] * 10
    files = {}
    for name, labels in zip("abc", values):
        rows = [(*ROWS[n][:2], label) for n, label in enumerate(labels)]
        files[f"{name}_inter"] = interactions(rows, "user_id:token\titem_id:token\tlabel:float")
    write_files(tmp_path, inter=None, **files)
    options = {**LABELS, "benchmark_filename": ["a", "b", "c"]}
    check_one_line([f"label is 1 in all 10 rows of {part}", "AUC"], tmp_path, model, **options)
    prepared(tmp_path, model, **options, metrics=["LogLoss"], valid_metric="LogLoss")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("model", ["FM_CEL", "MF_CEL", "MF"])
def test_too_few_rows_are_named(count, model, tmp_path):
    options = RATINGS if model.startswith("MF") else {}
    check_one_line([""], write_files(tmp_path, inter=interactions(ROWS[:count])), model, **options)


def test_parts_that_shall_be_empty_may_be(tmp_path):
    write_files(tmp_path)
    for split, sizes in (
        ({"RS": [0.9, 0.1, 0]}, [108, 12, 0]),
        ({"RS": [0.9, 0, 0.1]}, [108, 0, 12]),
        ({"RS": [1, 0, 0]}, [120, 0, 0]),
        ({"LS": "valid_only"}, [108, 12, 0]),
        ({"LS": "test_only"}, [108, 0, 12]),
    ):
        parts = prepared(tmp_path, **evaluated(split), metrics=["LogLoss"], valid_metric="LogLoss")[1:]
        assert [len(part._dataset) for part in parts] == sizes


def test_users_of_one_row_leave_none_out(tmp_path):
    write_files(tmp_path, inter=interactions([(f"u{n}", f"i{n}", "1", "1") for n in range(10)]))
    options = {**IDS, **evaluated({"LS": "valid_and_test"}, "full", "user")}
    check_one_line(["no rows for validation", "LS"], tmp_path, "BPR", **options)


@pytest.mark.parametrize("model", ["NeuMF", "DMF", "NNCF"])
def test_other_models_of_labels_need_them_too(model, tmp_path):
    ranked = evaluated({"RS": [0.8, 0.1, 0.1]}, "full", "user")
    options = {**ranked, "train_neg_sample_args": None}
    check_one_line(["LABEL_FIELD", "label"], write_files(tmp_path), model, **RATINGS, **options)
    check_one_line(["0 or 1"], tmp_path, model, **RATINGS, **options, LABEL_FIELD="rating")
    prepared(tmp_path, model, **ranked, **IDS)


def test_lists_are_no_longer_than_there_are_items(tmp_path):
    ranked = evaluated({"RS": [0.8, 0.1, 0.1]}, "full", "user")
    prepared(write_files(tmp_path), "BPR", **IDS, **ranked, topk=[5, 18], valid_metric="MRR@5")
    check_one_line(["topk", "18", "19"], tmp_path, "BPR", **IDS, **ranked, topk=[5, 19], valid_metric="MRR@5")


OTHERS = ["MF", "MF_CEL", "FM_CEL"]
SIGNED = ["NMF", "NMF_CEL", "NeuNMF", "NeuNMF_CEL", "NMF_ModuloHash"]
NEGATIVE = {
    "all": lambda n: f"-{1 + n % 5}",
    "some": lambda n: f"{n % 5 - 2}",
    "one in ten": lambda n: "-0.5" if n % 10 == 3 else "2",
}


@pytest.mark.parametrize("model", SIGNED)
@pytest.mark.parametrize("case", NEGATIVE)
def test_ratings_of_non_negative_models_are_not_negative(case, model, tmp_path):
    write_files(tmp_path, inter=with_column("rating:float", NEGATIVE[case]))
    check_one_line(
        ["rating", "negative", model, "column rating", "of 96 rows of training"], tmp_path, model, **RATINGS
    )


@pytest.mark.parametrize("model", [*OTHERS, *SIGNED])
def test_other_ratings_work(model, tmp_path):
    for value in ("0", "3", "5000000", "0.001"):
        write_files(tmp_path, inter=with_column("rating:float", lambda n, value=value: value if n % 2 else "1"))
        prepared(tmp_path, model, task="rating", **RATINGS)
    if model in OTHERS:
        write_files(tmp_path, inter=with_column("rating:float", NEGATIVE["all"]))
        assert prepared(tmp_path, model, task="rating", **RATINGS)[0].inter_num == 120


@pytest.mark.parametrize("field", ["label", "stars", "user_id"])
def test_models_of_ratings_name_the_column_that_they_lack(field, tmp_path):
    check_one_line(["LABEL_FIELD", field], write_files(tmp_path), "MF_CEL", LABEL_FIELD=field, **RATINGS)
    check_one_line(["RATING_FIELD", field], tmp_path, "MF_CEL", RATING_FIELD=field, **RATINGS)


def test_targets_are_no_features(tmp_path):
    write_files(tmp_path, inter=with_column("label:float", mixed))
    check_one_line(["numerical_features", "label"], tmp_path, **LABELS, numerical_features=["label"])


NORMALISED = ["NFM", "NFM_CEL", "DSSM", "DSSM_CEL", "DCN", "DCNV2", "DCNV2_CEL"]


@pytest.mark.parametrize("model", [*NORMALISED, "FM_CEL", "FM", "DeepFM_CEL"])
@pytest.mark.quick(4)
def test_a_last_batch_of_one_row_trains(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(user, item, mixed(n)) for n, (user, item, *_) in enumerate(ROWS[:81])]
    write_files(tmp_path, inter=interactions(rows, "user_id:token\titem_id:token\tlabel:float"))
    options = {**LABELS, "data_path": str(tmp_path), "epochs": 1, "show_progress": False, "train_batch_size": 16}
    result = run_recbole_cel(model, "small", config_dict={**options, "state": "ERROR", "mlp_hidden_size": [8]})
    assert 0 <= result["test_result"]["auc"] <= 1
    if model in NORMALISED:
        with pytest.raises(SettingError, match="train_batch_size must be 2 at least"):
            run_recbole_cel(model, "small", config_dict={**options, "train_batch_size": 1, "state": "ERROR"})


def test_the_row_joins_the_batch_before_in_the_same_order(tmp_path):
    from recbole_cel.inputs.last_batch import without_single_rows

    rows = [(user, item, mixed(n)) for n, (user, item, *_) in enumerate(ROWS[:81])]
    write_files(tmp_path, inter=interactions(rows, "user_id:token\titem_id:token\tlabel:float"))
    normalised, plain = torch.nn.Sequential(torch.nn.BatchNorm1d(3)), torch.nn.Linear(2, 2)
    split = {**evaluated({"RS": [0.8, 0.1, 0.1]}), "metrics": ["LogLoss"], "valid_metric": "LogLoss"}
    sizes = {16: [16, 16, 16, 17], 64: [65], 32: [32, 33], 65: [65], 100: [65], 20: [20, 20, 20, 5]}
    for size, joined in sizes.items():
        data = prepared(tmp_path, **LABELS, **split, train_batch_size=size)
        config, before = data[1].config, data[1]
        assert without_single_rows(config, plain, before) is before
        after = without_single_rows(config, normalised, before)
        assert (after is before) == (size in (65, 100, 20))
        assert len(after) == len(joined)
        for _ in range(2):
            batches = [batch["user_id"] for batch in after]
            assert [len(batch) for batch in batches] == joined
            if after is not before:
                assert torch.equal(torch.cat(batches), torch.cat([batch["user_id"] for batch in before]))
