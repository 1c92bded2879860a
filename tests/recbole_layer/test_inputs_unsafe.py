"""Nothing that a configuration says is run, unpickled or connected to."""

import ast
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import recbole_cel
from recbole_cel.config import Config
from recbole_cel.inputs import unsafe
from recbole_cel.inputs.plain import MAX_VALUES, check_bounded, literal
from recbole_cel.options import SettingError, shown

MARK = "recbole_cel_ran_code"
CALL = f"__import__('os').environ.__setitem__('{MARK}', '1')"
CALLS = [
    CALL,
    f"[{CALL}]",
    f"{{'a': {CALL}}}",
    f"({CALL}, 1)[1]",
    f"[1 for _ in [{CALL}]]",
    f"(lambda: {CALL})()",
    f"os.environ.__setitem__('{MARK}', '1')",
    f"exec({CALL!r})",
    f"eval({CALL!r})",
    f'f"{{{CALL}}}"',
    f"CrossNet if {CALL} else CIN",
]
KEYS = ["teacher", "note", "epochs", "metrics", "load_col", "cel_levels", "embedding_strategy", "model", "learner"]


class Payload:
    def __reduce__(self):
        return exec, (f"import os; os.environ[{MARK!r}] = '1'",)


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x"])
    monkeypatch.delenv(MARK, raising=False)
    yield
    assert MARK not in os.environ


def given(how, options, folder, monkeypatch, model="KD_DAGFM"):
    if how == "yaml":
        (folder / "options.yaml").write_text(yaml.safe_dump(options))
        return Config(model, "ml-100k", [str(folder / "options.yaml")])
    if how == "dict":
        return Config(model, "ml-100k", config_dict=dict(options))
    monkeypatch.setattr(sys, "argv", ["x", *(f"--{key}={value}" for key, value in options.items())])
    return Config(model, "ml-100k")


@pytest.mark.parametrize("how", ["yaml", "dict", "command line"])
@pytest.mark.parametrize("text", CALLS)
def test_texts_are_not_evaluated(text, how, tmp_path, monkeypatch):
    for key in KEYS:
        if key == "note":
            assert given(how, {key: text}, tmp_path, monkeypatch)["note"] == text
            continue
        try:
            made = given(how, {key: text}, tmp_path, monkeypatch)
        except SettingError as error:
            assert "\n" not in str(error) and len(str(error)) < 350
        else:
            assert made.model == "KD_DAGFM" and key == "model"  # the name of the model is an argument here


@pytest.mark.parametrize("how", ["yaml", "dict", "command line"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("teacher", value)
            for value in ("crossnet", "nn.Linear", "CrossNet ", "DAGFM", "print", "", "CIN()", 3)
        ),
        ("local_rank", 0),
        ("local_rank", -1),
        ("offset", 0),
        ("device", "cpu"),
        ("single_spec", False),
        ("MODEL_TYPE", "ModelType.GENERAL"),
        ("MODEL_INPUT_TYPE", 1),
        ("eval_type", "x"),
        ("dataset", "../other"),
        ("dataset", "a/b"),
        ("dataset", ".."),
        ("dataset", "a\\b"),
        ("benchmark_filename", ["../a", "b", "c"]),
        ("additional_feat_suffix", ["../kg"]),
    ],
)
def test_what_reaches_code_or_a_network_is_refused(how, key, value, tmp_path, monkeypatch):
    if how == "command line" and value == "":
        monkeypatch.setattr(sys, "argv", ["x", f"--{key}=''"])
        with pytest.raises(SettingError, match="teacher must be one of"):
            Config("KD_DAGFM", "ml-100k")
        return
    with pytest.raises(SettingError, match=f"^{key} (must be|is)") as error:
        given(how, {key: value}, tmp_path, monkeypatch)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../fm", "a/b", "os.path", "fm.x", "", "FM;x", "..fm", "FM CEL", "1FM", ".fm"])
def test_names_of_models_are_words(name):
    with pytest.raises(SettingError, match="^model must be the name of a model, got "):
        Config(name, "ml-100k")


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "..", ".", "", " ", "a\\b", "a\0b", 3])
def test_names_of_data_sets_are_no_paths(name):
    with pytest.raises(SettingError, match="^dataset must be"):
        Config("FM", name)


@pytest.mark.parametrize("teacher", unsafe.TEACHERS)
def test_the_teachers_of_recbole_pass(teacher):
    assert Config("KD_DAGFM", "ml-100k", config_dict={"teacher": teacher})["teacher"] == teacher


@pytest.mark.parametrize(
    ("model", "options", "key"),
    [
        ("ConvNCF", {"train_method": "after_pretrain"}, "pre_model_path"),
        ("RaCT", {"train_stage": "finetune"}, "pre_model_path"),
        ("RaCT", {"train_stage": "critic_pretrain"}, "pre_model_path"),
        ("S3Rec", {"train_stage": "finetune", "train_neg_sample_args": None}, "pre_model_path"),
        ("KD_DAGFM", {"phase": "distillation"}, "warm_up"),
        ("KD_DAGFM", {"phase": "finetuning"}, "warm_up"),
        ("NAIS", {}, "pretrain_path"),
        ("NeuMF", {"use_pretrain": True}, "mf_pretrain_path"),
    ],
)
def test_files_of_trained_models_hold_plain_data(model, options, key, tmp_path):
    good, files = tmp_path / "good.pth", {}
    torch.save({"state_dict": {"x": torch.zeros(2)}}, good)
    if model == "NeuMF":
        options = {**options, "mlp_pretrain_path": str(good)}
    assert Config(model, "ml-100k", config_dict={**options, key: str(good)})[key] == str(good)
    torch.save(Payload(), tmp_path / "payload.pth")
    torch.save({"state_dict": Payload()}, tmp_path / "inner.pth")
    torch.save([1], tmp_path / "list.pth")
    torch.save({"state_dict": 1}, tmp_path / "number.pth")
    (tmp_path / "cut.pth").write_bytes(good.read_bytes()[:100])
    (tmp_path / "text.pth").write_text("c" + "os\nsystem\n")
    (tmp_path / "empty.pth").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("payload.pth", "inner.pth", "list.pth", "number.pth", "cut.pth", "text.pth", "empty.pth"):
        files[str(tmp_path / name)] = "no file of a trained model that holds plain data only"
    for name in (str(tmp_path / "none.pth"), str(tmp_path / "folder"), 3):
        files[name] = "must be the file of a trained model"
    for file, message in files.items():
        with pytest.raises(SettingError, match=f"^{key} .*{message}"):
            Config(model, "ml-100k", config_dict={**options, key: file})


def test_the_matrix_of_ldiffrec_holds_numbers(tmp_path):
    folder = tmp_path / "items"
    folder.mkdir()
    options = {"n_cate": 2, "data_path": str(tmp_path)}
    file = folder / "item_emb.npy"
    with pytest.raises(SettingError, match="^n_cate above 1 needs"):
        Config("LDiffRec", "items", config_dict=options)
    np.save(file, np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(SettingError, match="^n_cate above 1 needs .*without pickle"):
        Config("LDiffRec", "items", config_dict=options)
    for content in (
        b"",
        b"x",
        b"\x80\x04K\x01.",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00\x06\x00{'a':1",
        b"cos\nsystem\n",
    ):
        file.write_bytes(content)
        with pytest.raises(SettingError, match="^n_cate above 1 needs"):
            Config("LDiffRec", "items", config_dict=options)
    for array in (np.zeros(3), np.zeros((2, 2), dtype=int), np.zeros((2, 2), dtype="U3")):
        np.save(file, array)
        with pytest.raises(SettingError, match="^n_cate above 1 needs"):
            Config("LDiffRec", "items", config_dict=options)
    np.save(file, np.zeros((3, 64), dtype=np.float32))
    assert Config("LDiffRec", "items", config_dict=options)["n_cate"] == 2
    assert Config("LDiffRec", "other", config_dict={"data_path": str(tmp_path)})["n_cate"] == 1


def nest(depth, value):
    for _ in range(depth):
        value = [value]
    return value


def cycle(kind):
    value = kind()
    if isinstance(value, dict):
        value["a"] = [value]
    else:
        value.append({"a": value})
    return value


def laughs():
    value = ["x"] * 9
    for _ in range(40):
        value = [value] * 9
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: cycle(list),
        lambda: cycle(dict),
        laughs,
        lambda: {"a": laughs()},
        lambda: tuple(laughs()),
        lambda: nest(21, 1),
        lambda: nest(100_000, 1),
        lambda: {"a": nest(50, 1)},
        lambda: [0] * (MAX_VALUES + 1),
        lambda: dict.fromkeys(range(MAX_VALUES)),
        lambda: {"a": [list(range(MAX_VALUES))]},
    ],
)
def test_values_of_a_dict_are_bounded(make):
    value = make()
    for key in ("note", "load_col", "cel_levels"):
        with pytest.raises(SettingError, match=f"^{key} must"):
            Config("FM_CEL", "ml-100k", config_dict={key: value})
    while isinstance(value, list) and value and isinstance(value[0], list):  # freed step by step
        value = value.pop(0) if len(value) == 1 else []


def test_values_of_usual_size_are_no_matter():
    check_bounded("x", {"a": [[1, 2], (3, {"b": list(range(50_000))})], "c": nest(18, 1)})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("true", True),
        ("None", None),
        ("[1,2]", [1, 2]),
        ("{'a': (1,)}", {"a": (1,)}),
        ("{1,2}", "{1,2}"),
        ("b'x'", "b'x'"),
        ("1j", "1j"),
        ("a-b", "a-b"),
        ("9" * 5000, "9" * 5000),
        ("[" * 5000, "[" * 5000),
        ("-" * 100_000 + "1", "-" * 100_000 + "1"),
        ("9**9**9", "9**9**9"),
        ("\0", "\0"),
        ("'x'", "x"),
    ],
)
def test_literals(text, value):
    assert literal(text) == value and type(literal(text)) is type(value)


def test_what_is_shown_is_one_short_line():
    class Odd:
        def __repr__(self):
            raise KeyError

    for value in ("a\nb", "x" * 1000, 10**5000, Odd(), [0] * 1000):
        assert "\n" not in shown(value) and len(shown(value)) <= 80


def test_no_file_of_ours_evaluates_or_unpickles():
    for file in Path(recbole_cel.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), file
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None)]
                assert not {"pickle", "dill", "shelve", "marshal", "joblib"} & set(names), file
