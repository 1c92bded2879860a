"""What a checkpoint may say of a configuration: names and numbers that change results, and nothing else.

A checkpoint can come from a stranger. Its model must be a known one, and its keys those that are listed here, of
RecBole's own property file of the model, and of the embedding strategies, each with a value of the expected type.
Paths, and what concerns network, processes or the screen, are neither saved nor taken from a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import recbole
import yaml
from recbole.utils import ModelType

from ..inputs import yaml_files
from ..inputs.structures import MAX_NEGATIVES
from ..model import get_model, split_name
from ..options import SettingError
from ..settings import PREFIX, CELSettings
from ..strategies import strategies
from .checkpoint import CheckpointError

# Of RecBole, with the types that a value may have; None is always allowed.
BOOL, INT, NUMBER, TEXT, LIST, DICT = (bool,), (int,), (int, float), (str,), (list, tuple), (dict,)
GENERAL: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("reproducibility", "shuffle", "require_pow", "enable_amp", "enable_scaler"), BOOL),
    **dict.fromkeys(("repeatable", "valid_metric_bigger", "filter_inter_by_user_or_item", "kg_reverse_r"), BOOL),
    **dict.fromkeys(("seed", "epochs", "train_batch_size", "eval_batch_size", "eval_step", "stopping_step"), INT),
    **dict.fromkeys(("loss_decimal_place", "metric_decimal_place", "MAX_ITEM_LIST_LENGTH"), INT),
    **dict.fromkeys(("learning_rate", "weight_decay"), NUMBER),
    **dict.fromkeys(("learner", "valid_metric", "rm_dup_inter", "field_separator", "seq_separator"), TEXT),
    **dict.fromkeys(("USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD", "TIME_FIELD", "LABEL_FIELD"), TEXT),
    **dict.fromkeys(("NEG_PREFIX", "ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "POSITION_FIELD"), TEXT),
    **dict.fromkeys(("HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD"), TEXT),
    **dict.fromkeys(("ENTITY_ID_FIELD", "dataset", "model", "task", "embedding_strategy", "transform"), TEXT),
    **dict.fromkeys(("user_inter_num_interval", "item_inter_num_interval"), TEXT),
    **dict.fromkeys(("entity_kg_num_interval", "relation_kg_num_interval"), TEXT),
    **dict.fromkeys(("alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id"), LIST),
    **dict.fromkeys(("numerical_features", "additional_feat_suffix", "normalize_field"), LIST),
    **dict.fromkeys(("benchmark_filename", "double_tower"), (*LIST, *BOOL)),
    **dict.fromkeys(("metrics", "topk"), (*LIST, *TEXT, *INT)),
    **dict.fromkeys(("train_neg_sample_args", "clip_grad_norm", "eval_args", "seq_len", "threshold"), DICT),
    **dict.fromkeys(("unload_col", "unused_col", "val_interval", "preload_weight", "discretization"), DICT),
    "load_col": DICT,
    "normalize_all": BOOL,
    "embedding_budget": (*TEXT, *NUMBER),
}
# Models whose configuration RecBole evaluates, or unpickles what it names.
EXCLUDED_MODELS = {"KD_DAGFM", "LDiffRec"}
# Of property files of models: files, and names of code.
EXCLUDED_KEYS = {
    *("teacher", "warm_up", "pre_model_path", "pretrain_path", "mf_pretrain_path", "mlp_pretrain_path"),
    *("use_pretrain", "emb_path", "train_stage", "save_step", "pretrain_epochs"),
}
# Neither a file nor a folder has such a name, and no code hides in it; separators are checked by length alone.
PLAIN = re.compile(r"[^/\\\x00-\x1f]{0,200}")
SEPARATORS = {"field_separator", "seq_separator"}
# Of our options, those that size something; of clusters there are never more than ids.
SIZED = {f"{PREFIX}{name}" for name in ("levels", "folds", "super_clusters")}
# Integers that size nothing.
UNSIZED = {"seed", "epochs", "train_batch_size", "eval_batch_size", "eval_step", "stopping_step", "topk"}
UNSIZED |= {"threshold", "clip_grad_norm"}
UNSIZED |= {f"{PREFIX}{spec.name}" for spec in fields(CELSettings)} - SIZED
MAX_INT = 2**63 - 1
MAX_VALUES = 10_000
# Sizes beyond this must be those of a tensor of the file; but negatives of an interaction are in none.
ALWAYS_FINE = 1024
MANY = {"train_neg_sample_args": MAX_NEGATIVES}


@cache
def allowed_keys(model: str) -> dict[str, tuple[type, ...] | None]:
    """The keys that are saved and read for ``model``, with the types of their values; None is any plain type."""
    base, strategy = split_name(model)
    found: dict[str, tuple[type, ...] | None] = dict(GENERAL)
    file = Path(recbole.__file__).parent / "properties" / "model" / f"{base}.yaml"
    if file.is_file():
        # As RecBole reads it, for which 5e-4 is a number.
        properties = yaml.load(file.read_text(encoding="utf-8"), yaml_files.Loader) or {}
        for key, value in properties.items():
            if key not in EXCLUDED_KEYS:
                found.setdefault(key, _kinds_of(value))
    found.update({PREFIX + spec.name: None for spec in fields(CELSettings) if spec.name != "resume"})
    for known in strategies().values():
        found.update({known.prefix + spec.name: None for spec in fields(known.Options)})
    if strategy is not None or base in ("MF", "NMF", "NeuNMF"):
        # Hyper-parameters of our own models, and of RecBole's that have no property file.
        found.setdefault("embedding_size", INT)
    return found


def _kinds_of(default: object) -> tuple[type, ...] | None:
    for kinds in (BOOL, NUMBER, TEXT, LIST, DICT):
        if isinstance(default, kinds):
            return kinds
    return None


def check_model(file: str, name: object) -> str:
    """Check the model of a file, before anything is made of it.

    Raises:
        CheckpointError: if there is none of that name, or files may not choose it.
    """
    known = isinstance(name, str) and re.fullmatch(r"\w{1,64}", name)
    if not known or split_name(str(name))[0] in EXCLUDED_MODELS:
        shown = repr(name)[:60]
        raise CheckpointError(f"{file}: its model is {shown}, which cannot be loaded from a file; train it here")
    try:
        made = get_model(str(name))
    except (SettingError, ImportError) as error:
        raise CheckpointError(f"{file}: {error}") from None
    if getattr(made, "type", None) == ModelType.DECISIONTREE:
        raise CheckpointError(f"{file}: its model is {name}, which is saved by its own library")
    return str(name)


def check_saved_config(file: str, model: str, config: object, largest: int | None = None) -> dict[str, Any]:
    """Check what a file says of the configuration, value by value.

    Args:
        file: for messages.
        model: its model, checked.
        config: what it holds.
        largest: largest dimension of its tensors; sizes may not be larger.

    Raises:
        CheckpointError: naming the first key that a file may not set, or whose value is of another kind.
    """
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: its configuration is no mapping")
    allowed = allowed_keys(model)
    for key, value in config.items():
        if not isinstance(key, str) or key not in allowed:
            raise CheckpointError(f"{file}: its configuration sets {str(key)[:60]!r}, which a file may not set")
        kinds = allowed[key]
        if kinds is not None and value is not None and not _is_of(value, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise CheckpointError(f"{file}: its {key} is {str(value)[:60]!r}; it must be of type {wanted}")
        for part in _parts(file, key, value):
            _check_part(file, key, part, largest)
    if not isinstance(config.get("dataset"), str) or config["dataset"].strip(". ") == "":
        raise CheckpointError(f"{file}: its configuration names no data set")
    return dict(config)


def _is_of(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _parts(file: str, key: str, value: object) -> Iterator[object]:
    """All keys and values within ``value``."""
    stack, number = [value], 0
    while stack:
        part, number = stack.pop(), number + 1
        if number > MAX_VALUES:
            raise CheckpointError(f"{file}: its {key} has more than {MAX_VALUES} values")
        if isinstance(part, Mapping):
            stack += [*part, *part.values()]
        elif isinstance(part, (list, tuple)):
            stack += part
        else:
            yield part


def _check_part(file: str, key: str, part: object, largest: int | None) -> None:
    if part is None or isinstance(part, bool):
        return
    if isinstance(part, str):
        if not (len(part) <= 8 if key in SEPARATORS else PLAIN.fullmatch(part) and ".." not in part):
            raise CheckpointError(f"{file}: its {key} names {part[:60]!r}, which is no plain name")
        return
    if isinstance(part, float):
        return
    if not isinstance(part, int):
        raise CheckpointError(f"{file}: its {key} holds a {type(part).__name__}")
    most = MAX_INT if key in UNSIZED or largest is None else max(MANY.get(key, ALWAYS_FINE), largest)
    if not -MAX_INT <= part <= most:
        raise CheckpointError(f"{file}: its {key} is {str(part)[:30]}, but the largest size in it is {most}")
