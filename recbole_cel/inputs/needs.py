"""Which columns of a data set a configuration needs, and what for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from recbole.utils import ModelType

from ..options import SettingError, is_number, shown

OF_LABELS = (ModelType.CONTEXT, ModelType.DECISIONTREE)
# Models of other types that RecBole trains on labels; it draws negatives for them unless told otherwise.
ALSO_OF_LABELS = frozenset({"DMF", "FISM", "NAIS", "NeuMF", "NNCF", "DIN", "DIEN", "MKR", "RippleNet"})


def id_fields(config: Any, kind: str) -> dict[str, str]:
    """Id columns of a file of ``kind`` (inter, user, item, kg, link): the option that names each, by its name.

    Raises:
        SettingError: if only one of the user and the item column is named.
    """
    if not config["USER_ID_FIELD"] or not config["ITEM_ID_FIELD"]:
        for given, missing in (("USER_ID_FIELD", "ITEM_ID_FIELD"), ("ITEM_ID_FIELD", "USER_ID_FIELD")):
            if config[given]:
                raise SettingError(missing, f"must name a column, as {given} does")
    keys = {
        "inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"),
        "user": ("USER_ID_FIELD",),
        "item": ("ITEM_ID_FIELD",),
        "kg": ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
        "link": ("ITEM_ID_FIELD", "ENTITY_ID_FIELD"),
    }.get(kind, ())
    return {config[key]: key for key in keys if config[key]}


def trains_on_labels(config: Any) -> bool:
    """Whether the model learns a column of the data, not which interactions there are."""
    drawn = config["train_neg_sample_args"]["distribution"] != "none"
    of_labels = config["MODEL_TYPE"] in OF_LABELS or config["model"] in ALSO_OF_LABELS
    return config["task"] == "rating" or (of_labels and not drawn)


def evaluates_labels(config: Any, phase: str) -> bool:
    """Whether ``phase``, valid or test, compares scores with a column of the data."""
    return bool(config["eval_args"]["mode"][phase] == "labeled")


def target_field(config: Any) -> tuple[str, str] | None:
    """The column that labels or ratings are read from, and the option that names it; None where none are needed.

    Raises:
        SettingError: if ``threshold`` is not of the form that RecBole takes.
    """
    threshold = config["threshold"]
    if threshold is not None:
        if not isinstance(threshold, dict) or len(threshold) != 1:
            raise SettingError(
                "threshold", f"must be one column and a number, such as {{rating: 4}}, got {threshold!r}"
            )
        ((field, value),) = threshold.items()
        if not is_number(value, float("-inf")):
            raise SettingError("threshold", f"must be a number for column {field}, got {shown(value)}")
        return str(field), "threshold"
    if trains_on_labels(config) or any(evaluates_labels(config, phase) for phase in ("valid", "test")):
        return str(config["LABEL_FIELD"]), _target_option(config)
    return None


def _target_option(config: Any) -> str:
    taken = config["task"] == "rating" and "LABEL_FIELD" not in config.external_config_dict
    return "RATING_FIELD" if taken else "LABEL_FIELD"


def needs_time(config: Any) -> str | None:
    """What needs the column of times, if anything does."""
    if config["benchmark_filename"] is None:
        split = config["eval_args"]["split"]
        if config["eval_args"]["order"] == "TO":
            return "eval_args: order TO"
        if isinstance(split, dict) and "TS" in split:
            return "eval_args: split TS"
    return f"model {config['model']}" if config["MODEL_TYPE"] == ModelType.SEQUENTIAL else None


def is_loaded(config: Any, kind: str) -> bool:
    """Whether RecBole loads a file of ``kind`` at all."""
    load = _listed(config, "load_col", kind)
    return config["load_col"] is None or config["load_col"].get(kind) == "*" or bool(load)


def chosen_columns(config: Any, kind: str, names: list[str]) -> list[str]:
    """Which of the columns ``names`` RecBole loads from a file of ``kind`` that it loads.

    Raises:
        SettingError: if ``load_col`` or ``unload_col`` names what is not there.
    """
    load, unload = _listed(config, "load_col", kind), _listed(config, "unload_col", kind)
    if load and unload:
        raise SettingError("unload_col", f"and load_col both choose columns of .{kind}; set one of them")
    for key, listed in (("load_col", load), ("unload_col", unload)):
        # Those of RecBole's own property files fit no data set in particular.
        if key in config.external_config_dict:
            for name in listed or ():
                if name not in names:
                    raise SettingError(key, f"names {name}, but .{kind} has the columns {listing(name, names)}")
    if load is not None:
        return [name for name in names if name in load]
    return [name for name in names if name not in (unload or ())]


def is_asked_for(config: Any, kind: str) -> bool:
    """Whether the user's own ``load_col`` names columns of a file of ``kind``."""
    return "load_col" in config.external_config_dict and bool(_listed(config, "load_col", kind))


def listing(name: object, names: Iterable[str]) -> str:
    """The ``names`` that there are, and which is nearest to one that is not there."""
    names = list(names)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{', '.join(names)}{hint}"


def _listed(config: Any, key: str, kind: str) -> list[str] | None:
    option = config[key]
    if option is None:
        return None
    if not isinstance(option, dict):
        raise SettingError(
            key, f"must be columns by suffix, such as {{inter: [user_id, item_id]}}, got {option!r}"
        )
    listed = option.get(kind)
    if listed is None or (listed == "*" and key == "load_col"):
        return None
    if not isinstance(listed, (list, tuple, set)) or not all(isinstance(name, str) for name in listed):
        raise SettingError(key, f"must list the names of columns of .{kind}, got {listed!r}")
    return list(listed)
