"""Options by which RecBole would evaluate a text, unpickle a file, open a connection or start a process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..options import SettingError
from .plain import check_bounded, must_be

# KD_DAGFM evaluates the name of its teacher as Python; these are the networks that it has.
TEACHERS = ("CrossNet", "CIN")
# What RecBole finds out itself. With a rank it would join a group of processes at any address.
DERIVED = (
    "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank", "offset",
)  # fmt: skip
# Of the runner; they mean something on the command line only.
PROCESSES = ("nproc", "world_size", "ip", "port", "group_offset")
# Files that RecBole's models load tensors from, and for which of them: another option and the values it has then.
PRETRAINED: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "ConvNCF": ("pre_model_path", "train_method", ("after_pretrain",)),
    "RaCT": ("pre_model_path", "train_stage", ("critic_pretrain", "finetune")),
    "S3Rec": ("pre_model_path", "train_stage", ("finetune",)),
    "KD_DAGFM": ("warm_up", "phase", ("distillation", "finetuning")),
}
# Of paths; no names have them.
PARTS = {"/", "\\", "\0"}
# Ends of file names.
SUFFIXES = ("benchmark_filename", "additional_feat_suffix")


def check_given(given: Mapping[str, Any]) -> None:
    """Check what a user gives in YAML, a dict or on the command line.

    Raises:
        SettingError: at an option by which RecBole would run code or start processes, or a value without bounds.
    """
    for key, value in given.items():
        check_bounded(key, value)
        if key in DERIVED:
            raise SettingError(key, "is found out by RecBole; leave it out")
    _check_names(given)


def _check_names(given: Mapping[str, Any]) -> None:
    teacher = given.get("teacher")
    if teacher is not None and teacher not in TEACHERS:
        raise must_be("teacher", f"one of {', '.join(TEACHERS)}", teacher)
    for key in SUFFIXES:
        ends = given.get(key)
        for end in ends if isinstance(ends, (list, tuple)) else [ends]:
            if isinstance(end, str) and PARTS & set(end):
                raise must_be(key, "ends of file names, no paths", end)
    check_names(given.get("model"), given.get("dataset"))


def check_names(model: object, dataset: object) -> None:
    """Check that the names of a model and a data set are words: RecBole imports the one, and opens the other.

    Raises:
        SettingError: if they are not.
    """
    if isinstance(model, str) and not model.isidentifier():
        raise must_be("model", "the name of a model", model)
    if dataset is None:
        return
    if not isinstance(dataset, str) or not dataset.strip() or PARTS & set(dataset) or dataset in (".", ".."):
        raise must_be("dataset", "the name of a folder in data_path, no path", dataset)


def check_files(model: str, config: Mapping[str, Any]) -> None:
    """Check the files that RecBole would unpickle or load tensors from for ``model``.

    RecBole leaves it to PyTorch and NumPy what may be in them; so they are read once here, as plain data only.

    Args:
        model: name of the model, without a strategy.
        config: all options, with ``data_path`` the folder of the data set.

    Raises:
        SettingError: if one is missing, or holds anything but numbers and plain data.
    """
    if model in PRETRAINED:
        key, switch, needs = PRETRAINED[model]
        if config.get(switch) in needs:
            _check_tensors(key, config.get(key))
    if model == "NAIS" and config.get("pretrain_path") is not None:
        _check_tensors("pretrain_path", config["pretrain_path"])
    if model == "NeuMF" and config.get("use_pretrain"):
        _check_tensors("mf_pretrain_path", config.get("mf_pretrain_path"))
        _check_tensors("mlp_pretrain_path", config.get("mlp_pretrain_path"))
    number = config.get("n_cate", 1)
    if model == "LDiffRec" and isinstance(number, (int, float)) and number > 1:
        _check_numbers("n_cate", Path(config["data_path"]) / "item_emb.npy")


def _check_tensors(key: str, file: object) -> None:
    if not isinstance(file, str) or not Path(file).is_file():
        raise must_be(key, "the file of a trained model", file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # whatever an arbitrary file makes the reader stumble over
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), dict):
        raise SettingError(key, f"names {file}, which is no file of a trained model that holds plain data only")


def _check_numbers(key: str, file: Path) -> None:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        plain = isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.ndim == 2
    except Exception:  # as above
        plain = False
    if not plain:
        raise SettingError(key, f"above 1 needs {file}, a matrix of numbers as NumPy saves it without pickle")
