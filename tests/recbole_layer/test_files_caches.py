"""RecBole's save_dataset and save_dataloaders: whole files of plain data, read only when named."""

import errno
import os
import pickle
import sys
from pathlib import Path

import child
import pytest
import torch
from recbole.data import create_dataset

from recbole_cel.config import Config
from recbole_cel.options import SettingError
from recbole_cel.quick_start import run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs import files
from recbole_cel.runs.caches import Caches
from recbole_cel.runs.checkpoint import CheckpointError
from recbole_cel.runs.plain_data import decode_dataset, encode_dataset

BOTH = {"save_dataset": True, "save_dataloaders": True}
NAMED = {"dataset_save_path": "c/data.pth", "dataloaders_save_path": "c/split.pth"}
RANKING = ("threshold", "cel_max_clusters", "cel_levels", "cel_split_gain")


@pytest.fixture
def warm(options):
    """Options of a run of one epoch."""
    return {**options, "epochs": 1}


def prepare(options):
    with Caches(Config("FM_CEL", "tiny", config_dict=options)) as caches:
        caches.splits(caches.data_set(create_dataset))


def of(model, options, **changes):
    options = {**options, **changes}
    if model in ("BPR", "LightGCN"):
        options = {key: value for key, value in options.items() if key not in RANKING}
    elif model[:2] in ("MF", "NM", "Ne"):
        options["threshold"] = None
    return run_recbole_cel(model, "tiny", config_dict=options)


@pytest.mark.parametrize(
    "model",
    [
        "FM_CEL",
        "DeepFM_CEL",
        "FM_ModuloHash",
        "FM",
        "DCN_CEL",
        "NMF_CEL",
        "MF_CEL",
        "NeuNMF_CEL",
        "BPR",
        "LightGCN",
    ],
)
@pytest.mark.quick(2)
def test_results_do_not_depend_on_the_files(model, warm, monkeypatch):
    plain = of(model, warm)
    assert of(model, warm, **BOTH, **NAMED) == plain
    for name in ("data.pth", "split.pth"):
        assert torch.load(f"c/{name}", weights_only=True)["content"]

    def refuse(config):
        raise AssertionError("the data set is read anew")

    monkeypatch.setattr("recbole_cel.inputs.prepare.create_dataset", refuse)
    assert of(model, warm, **NAMED) == plain
    assert of(model, warm, **BOTH, **NAMED) == plain


@pytest.mark.parametrize("which", [{}, {"save_dataset": True}, {"save_dataloaders": True}, BOTH])
@pytest.mark.quick(1)
def test_nothing_that_merely_lies_there_is_read(which, warm, tmp_path):
    plain = of("FM_CEL", warm)
    lying = [tmp_path / "saved" / name for name in ("tiny-Dataset.pth", "tiny-for-FM_CEL-dataloader.pth")]
    for file in lying:
        file.write_bytes(pickle.dumps(Bomb()))
    for _ in range(2):
        assert of("FM_CEL", warm, **which) == plain
    read = [file for file in lying if file.read_bytes() != pickle.dumps(Bomb())]
    assert len(read) == len(which)
    assert all("content" in torch.load(file, weights_only=True) for file in read)


class Bomb:
    def __reduce__(self):
        return sys.exit, (3,)


def swap(file):
    state = checkpoints.read(file)
    checkpoints.write(file, {**state, "what": "splits" if state["what"] == "data set" else "data set"})


def emptied(file):
    state = checkpoints.read(file)
    part = "dataset" if "dataset" in state else "splits"
    checkpoints.write(file, {**state, part: {"class": "Dataset"} if part == "dataset" else [{"class": "os"}] * 3})


DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a pickle": lambda file: file.write_bytes(pickle.dumps(Bomb())),
    "a pickle of torch": lambda file: torch.save(Bomb(), file),
    "text": lambda file: file.write_text("hello"),
    "a changed byte": lambda file: file.write_bytes(file.read_bytes().replace(b"user_id", b"user_ix")),
    "another's checkpoint": lambda file: checkpoints.write(file, {"x": 1}),
    "the other kind": swap,
    "no data set in it": emptied,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "missing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("which", NAMED)
@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_files_are_one_line(damage, which, warm):
    prepare({**warm, **BOTH, **NAMED})
    DAMAGES[damage](Path(NAMED[which]))
    with pytest.raises((CheckpointError, SettingError), match=f"{which}|{NAMED[which]}") as error:
        prepare({**warm, **NAMED})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": {"rating": 4}}, {"seed": 7}, {"LABEL_FIELD": "liked"},
        {"user_inter_num_interval": "[5,inf)"},
        {"load_col": {"inter": ["user_id", "item_id", "rating"]}}, {"unload_col": {"user": ["age"]}},
        {"val_interval": {"rating": "[2,inf)"}}, {"rm_dup_inter": "first"}, {"encoding": "latin-1"}, "rows",
    ],
)  # fmt: skip
@pytest.mark.quick(2)
def test_files_of_other_data_are_made_anew(changes, warm, tmp_path, caplog):
    of("FM_CEL", warm, **BOTH, **NAMED)
    if changes == "rows":
        file = tmp_path / "copy" / "tiny" / "tiny.inter"
        file.parent.mkdir(parents=True)
        for part in ("inter", "user", "item"):
            content = Path(warm["data_path"], "tiny", f"tiny.{part}").read_text()
            file.with_suffix(f".{part}").write_text("".join(content.splitlines(keepends=True)[:700]))
        changes = {"data_path": str(tmp_path / "copy")}
    if "unload_col" in changes:
        warm = {**warm, "load_col": None}
    expected = of("FM_CEL", warm, **changes)
    assert of("FM_CEL", warm, **NAMED, **changes) == expected
    assert "c/data.pth is not used: " in caplog.text and "changed since it was written" in caplog.text


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.quick(2)
def test_written_whole_or_not_at_all(call, count, warm, tmp_path):
    def install():
        original, calls = getattr(files.os, call), iter(range(10**6))
        before = 0 if call == "replace" else 3  # the folders that are tried out

        def wrapper(*args):
            if next(calls) >= before + 2 * count * (call == "fsync") + count * (call == "replace"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args)

        setattr(files.os, call, wrapper)

    outcome = child.run({**warm, **BOTH}, tmp_path, install)
    assert outcome.code == 2 and "No space" in outcome.one_line()
    assert len(list(tmp_path.glob("saved/*"))) == count and not list(tmp_path.glob("saved/.*"))
    assert child.run({**warm, **BOTH}, tmp_path).code == 0


@pytest.mark.parametrize(
    "bad",
    [{"dataset_save_path": 3}, {"dataset_save_path": ["a"]}, {"save_dataset": "yes"}, {"save_dataloaders": 1.5},
     {"dataloaders_save_path": "nowhere"}, {"dataset_save_path": "."}],
)  # fmt: skip
def test_bad_options(bad, warm):
    with pytest.raises(SettingError, match=next(iter(bad))):
        of("FM_CEL", warm, **bad)


def test_data_sets_come_back_as_they_were(options):
    config = Config("FM_CEL", "tiny", config_dict=options)
    data = create_dataset(config)
    saved = encode_dataset(data)
    back = decode_dataset(saved, config, None)
    assert checkpoints.digest(encode_dataset(back)) == checkpoints.digest(saved)
    for name in ("inter_feat", "user_feat", "item_feat"):
        one, other = getattr(data, name), getattr(back, name)
        assert list(one.dtypes) == list(other.dtypes) and list(one.index) == list(other.index)
    assert back.field2id_token["user_id"].tolist() == data.field2id_token["user_id"].tolist()
    assert back.token2id("user_id", "u3") == data.token2id("user_id", "u3")


def test_data_sets_that_are_not_plain(options, tmp_path):
    config = Config("FM_CEL", "tiny", config_dict={**options, **BOTH})
    data = create_dataset(Config("FM_CEL", "tiny", config_dict=options))
    data.extra = object()
    with (
        Caches(config) as caches,
        pytest.raises(SettingError, match=r"save_dataset must be False .*Dataset\.extra"),
    ):
        caches.data_set(lambda config: data)
    with Caches(config) as caches, pytest.raises(SettingError, match="save_dataloaders must be False"):
        caches.splits(data)
    assert config["save_dataset"] is True and not list(tmp_path.glob("saved/*"))
