"""Values of RecBole's options: type and range, before any data are read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from ..options import SettingError
from . import structures as are
from .evaluation import check_evaluation
from .plain import must_be
from .structures import MAX_SIZE, is_finite, is_name, is_whole

Check = tuple[str, Callable[[Any], bool]]
LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
LEVELS = ("info", "debug", "error", "warning", "critical")
TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined")
# Options that hold one of a few words, in any case.
WORDS = {"learner": LEARNERS, "state": LEVELS}


def _whole(low: int, high: int) -> Check:
    return f"an integer from {low} to {high}", lambda v: is_whole(v, low, high)


def _number(low: float, high: float | None = None) -> Check:
    if high is None:
        return f"a number >= {low:g}", lambda v: is_finite(v, low)
    return f"a number from {low:g} to {high:g}", lambda v: is_finite(v, low, high)


def _or_none(check: Check) -> Check:
    want, ok = check
    return f"{want}, or None", lambda v: v is None or ok(v)


def _is_switch(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))


def _is_encoding(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(codecs.lookup(value))
    except (LookupError, ValueError):
        return False


def _is_gpu(value: object) -> bool:
    parts = value if isinstance(value, tuple) else [value]
    return all(is_whole(p, -1, 4095) or (isinstance(p, str) and re.fullmatch(r"[\w, /-]*", p)) for p in parts)


SWITCH: Check = ("True or False", _is_switch)
# Where RecBole takes no 1 for True.
BOOL: Check = ("True or False", lambda v: isinstance(v, bool))
NAME: Check = ("the name of a column", is_name)
TEXT: Check = ("a text", lambda v: isinstance(v, str) and v != "")
PATH: Check = ("a path", lambda v: is_name(v) and "\0" not in v)
NAMES: Check = ("a list of names of columns, such as ['age','price']", are.are_names)
SIZE: Check = _whole(1, MAX_SIZE)
SIZES: Check = (f"a list of integers from 1 to {MAX_SIZE}, such as [64,32]", are.are_sizes)
SHARE: Check = _number(0, 1)
BATCH: Check = _whole(1, 2**31 - 1)
COLUMNS = "the columns of each file, such as {'inter': ['user_id','item_id']}"
INTERVAL: Check = _or_none(("an interval such as '[5,inf)'", are.is_interval))
VALUES: dict[str, Check] = {
    "seed": _whole(0, 2**32 - 2),
    "epochs": _whole(1, 10**6),
    "train_batch_size": BATCH,
    "eval_batch_size": BATCH,
    "learning_rate": _number(0),
    "weight_decay": _number(0),
    "stopping_step": _whole(0, 10**6),
    "eval_step": _whole(0, 10**6),
    "loss_decimal_place": _whole(0, 16),
    "metric_decimal_place": _whole(0, 16),
    "worker": _whole(0, 1024),
    "gpu_id": ("the number of a GPU, such as 0, or several as in '0,1'", _is_gpu),
    "encoding": _or_none(("the name of an encoding, such as utf-8", _is_encoding)),
    "transform": _or_none((f"one of {', '.join(TRANSFORMS)}", lambda v: v in TRANSFORMS)),
    "clip_grad_norm": _or_none(("a dict such as {'max_norm': 5}", are.is_clipping)),
    "embedding_size": SIZE,
    "mlp_hidden_size": SIZES,
    "dropout_prob": SHARE,
    "hidden_dropout_prob": SHARE,
    "attn_dropout_prob": SHARE,
    "n_heads": SIZE,
    "num_heads": SIZE,
    "MAX_ITEM_LIST_LENGTH": SIZE,
    "load_col": _or_none((f"{COLUMNS} or {{'inter': '*'}}", are.are_columns)),
    "unload_col": _or_none((COLUMNS, are.are_listed_columns)),
    "unused_col": _or_none((COLUMNS, are.are_listed_columns)),
    "threshold": _or_none(("one column with a number, such as {'rating': 4}", are.is_threshold)),
    "val_interval": _or_none(("intervals of columns, such as {'rating': '[3,inf)'}", are.are_intervals)),
    "user_inter_num_interval": INTERVAL,
    "item_inter_num_interval": INTERVAL,
    "entity_kg_num_interval": INTERVAL,
    "relation_kg_num_interval": INTERVAL,
    "discretization": _or_none(
        ("such as {'age': {'method': 'ED', 'bucket': 10}} or {'age': {'method': 'LD'}}", are.are_buckets)
    ),
    "rm_dup_inter": _or_none(("first, last or False", lambda v: v in ("first", "last") or v is False)),
    "benchmark_filename": _or_none(
        (
            "three ends of file names, such as ['train','valid','test']",
            lambda v: are.are_names(v) and len(v) == len(set(v)) == 3,
        )
    ),
    "additional_feat_suffix": _or_none(("a list of ends of file names", lambda v: is_name(v) or are.are_names(v))),
    "numerical_features": NAMES,
    "normalize_field": _or_none(NAMES),
    "normalize_all": _or_none(BOOL),
    "filter_inter_by_user_or_item": BOOL,
    "enable_amp": BOOL,
    "enable_scaler": BOOL,
    "reg_weight": ("a number, or a list of numbers", are.are_numbers),
    "preload_weight": _or_none(
        ("a dict of columns", lambda v: isinstance(v, dict) and are.are_names([*v, *v.values()]))
    ),
    "seq_len": _or_none(
        (
            "the length of columns, such as {'genre': 5}",
            lambda v: (
                isinstance(v, dict) and are.are_names([*v]) and all(is_whole(n, 1, 10**6) for n in v.values())
            ),
        )
    ),
    "field_separator": TEXT,
    "seq_separator": TEXT,
    "data_path": PATH,
    "checkpoint_dir": PATH,
}
VALUES |= dict.fromkeys(("USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD", "RATING_FIELD", "TIME_FIELD"), NAME)
VALUES |= {f"alias_of_{what}_id": _or_none(NAMES) for what in ("user", "item", "entity", "relation")}
VALUES |= dict.fromkeys(
    ("use_gpu", "reproducibility", "show_progress", "save_dataset", "save_dataloaders", "log_wandb", "shuffle",
     "require_pow", "repeatable", "valid_metric_bigger", "kg_reverse_r"),
    SWITCH,
)  # fmt: skip
# In RecBole these may be None, where a data set has no such column.
MAY_BE_NONE = ("LABEL_FIELD", "RATING_FIELD", "TIME_FIELD")


def check_values(config: Mapping[str, Any], given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check all options together.

    Args:
        config: all of them.
        given: those that the user gave.
        defaults: what RecBole and we have for the model and the data set; where nothing else is known of an
            option, a value must be of the type of its default.

    Raises:
        SettingError: at the first that RecBole would stumble over, with the value and what would be right.
    """
    for key, value in given.items():
        if key in MAY_BE_NONE and value is None:
            continue
        if key in WORDS:
            if not isinstance(value, str) or value.lower() not in WORDS[key]:
                raise must_be(key, f"one of {', '.join(WORDS[key])}", value)
        elif key in VALUES:
            want, ok = VALUES[key]
            if not ok(value):
                raise must_be(key, want, value)
        elif key in defaults and key not in ("metrics", "topk", "valid_metric", "eval_args"):
            _check_type(key, value, defaults[key])
    are.check_eval_args(config["eval_args"])
    are.check_negatives(config.get("train_neg_sample_args"))
    check_evaluation(config)
    _check_together(config)


def _check_type(key: str, value: object, default: object) -> None:
    if isinstance(default, bool):
        want, ok = SWITCH
    elif isinstance(default, (int, float)):
        number = is_finite(value) or isinstance(value, bool)
        if key.endswith("_size") and is_whole(default, 1, MAX_SIZE):
            want, ok = SIZE
        else:
            want, ok = f"a number such as {default}", lambda v: number
    elif isinstance(default, list) and default:
        want, ok = f"a list such as {default}", lambda v: isinstance(v, list)
    else:
        return
    if not ok(value):
        raise must_be(key, want, value)


def _check_together(config: Mapping[str, Any]) -> None:
    if config.get("log_wandb") and find_spec("wandb") is None:
        raise SettingError("log_wandb", "needs the package wandb (pip install wandb)")
    if config["USER_ID_FIELD"] == config["ITEM_ID_FIELD"]:
        raise must_be("ITEM_ID_FIELD", "another column than USER_ID_FIELD", config["ITEM_ID_FIELD"])
    if config.get("normalize_field") is not None and config.get("normalize_all") is True:
        raise SettingError("normalize_field", "and normalize_all exclude each other; set one of them")
    load, unload = config.get("load_col") or {}, config.get("unload_col") or {}
    both = [file for file in load if file in unload and load[file] and load[file] != "*"]
    if both:
        raise SettingError(
            "load_col", f"and unload_col exclude each other; both are given for {both[0]}, so set one to None"
        )
    for size, heads in (("hidden_size", "n_heads"), ("attention_size", "num_heads")):
        both_given = is_whole(config.get(size), 1, MAX_SIZE) and is_whole(config.get(heads), 1, MAX_SIZE)
        if both_given and config[size] % config[heads]:
            raise must_be(size, f"a multiple of {heads}, {config[heads]}", config[size])
