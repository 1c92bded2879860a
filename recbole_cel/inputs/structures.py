"""Options of RecBole that are lists and dicts: what they must hold, before any data are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from logging import getLogger
from numbers import Integral, Real
from typing import Any

from .plain import must_be

SPLIT_WANT = (
    "{'RS': [0.8,0.1,0.1]} or {'TS': [0.8,0.1,0.1]} with the shares of training, validation and test, or "
    "{'LS': 'valid_and_test'}"
)
LEAVE_OUT = ("valid_and_test", "valid_only", "test_only")
MODE = re.compile(r"labeled|full|(uni|pop)[1-9][0-9]{0,5}")
MODE_WANT = "labeled, full, uni or pop with a number such as uni100, or such for 'valid' and 'test'"
MAX_SIZE = 65_536
MAX_NEGATIVES = 100_000


def is_whole(value: object, low: int, high: int) -> bool:
    """Whether ``value`` is an integer (and no bool) from ``low`` to ``high``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high


def is_finite(value: object, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether ``value`` is a finite number (and no bool) from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value) and low <= float(value) <= high
    except OverflowError:  # an integer that is no float
        return False


def is_name(value: object) -> bool:
    """Whether ``value`` is a text that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def are_names(value: object) -> bool:
    """Whether ``value`` is a list of texts, none of them empty."""
    return isinstance(value, (list, tuple)) and all(is_name(item) for item in value)


def are_sizes(value: object) -> bool:
    """Whether ``value`` is a list of sizes of layers."""
    return isinstance(value, list) and len(value) > 0 and all(is_whole(item, 1, MAX_SIZE) for item in value)


def are_numbers(value: object) -> bool:
    """Whether ``value`` is a finite number or a list of such."""
    return all(is_finite(item) for item in (value if isinstance(value, list) else [value]))


def are_columns(value: object) -> bool:
    """Whether ``value`` gives the columns of each file, or a star for all of them."""
    return isinstance(value, dict) and all(
        is_name(file) and (columns == "*" or are_names(columns)) for file, columns in value.items()
    )


def are_listed_columns(value: object) -> bool:
    """As :func:`are_columns`, without the star."""
    return are_columns(value) and isinstance(value, dict) and "*" not in value.values()


def is_threshold(value: object) -> bool:
    """Whether ``value`` is one column with a number."""
    return (
        isinstance(value, dict) and len(value) == 1 and all(is_name(k) and is_finite(v) for k, v in value.items())
    )


def is_interval(value: object) -> bool:
    """Whether RecBole can read ``value`` as intervals, such as ``[5,inf)`` or ``[1,2];(4,5]``."""
    for part in str(value).split(";"):
        match = re.fullmatch(r"[(\[]([^,]*),([^,]*)[)\]]", part.strip())
        try:
            low, high = (float(end) for end in match.groups())  # type: ignore[union-attr]
        except (AttributeError, ValueError):
            return False
        if not low <= high:
            return False
    return True


def are_intervals(value: object) -> bool:
    """Whether ``value`` gives an interval, or a list of values, for each of some columns."""
    return isinstance(value, dict) and all(
        is_name(k) and (is_interval(v) or isinstance(v, (list, tuple))) for k, v in value.items()
    )


def are_buckets(value: object) -> bool:
    """Whether ``value`` says how columns of numbers are cut into classes."""
    return isinstance(value, dict) and all(
        is_name(name)
        and isinstance(way, dict)
        and (way.get("method") == "LD" or (way.get("method") == "ED" and is_whole(way.get("bucket"), 1, 10**6)))
        for name, way in value.items()
    )


def is_clipping(value: object) -> bool:
    """Whether ``value`` are arguments of PyTorch's ``clip_grad_norm_``."""
    return (
        isinstance(value, dict)
        and {"max_norm"} <= set(value) <= {"max_norm", "norm_type", "error_if_nonfinite", "foreach"}
        and is_finite(value["max_norm"], 0)
        and (value.get("norm_type") == "inf" or is_finite(value.get("norm_type", 2.0)))
    )


def check_eval_args(value: object) -> None:
    """Check ``eval_args``.

    Raises:
        SettingError: at what RecBole would stumble over.
    """
    if not isinstance(value, dict):
        raise must_be("eval_args", "a dict with split, order, group_by and mode", value)
    _point_out("eval_args", value, ("split", "order", "group_by", "mode"))
    if "split" in value and not _is_split(value["split"]):
        raise must_be("eval_args: split", SPLIT_WANT, value["split"])
    if value.get("order", "RO") not in ("RO", "TO"):
        raise must_be("eval_args: order", "RO (at random) or TO (by time)", value["order"])
    group = value.get("group_by")
    if group is not None and group != "user" and not (isinstance(group, str) and group.lower() == "none"):
        raise must_be("eval_args: group_by", "user or none", group)
    modes = modes_of(value)
    if set(modes) != {"valid", "test"} or not all(
        isinstance(m, str) and MODE.fullmatch(m) for m in modes.values()
    ):
        raise must_be("eval_args: mode", MODE_WANT, value["mode"])


def modes_of(eval_args: dict[str, Any]) -> dict[str, Any]:
    """The mode of validation and of test, as RecBole fills in what is left out."""
    mode = eval_args.get("mode", "full")
    if not isinstance(mode, dict):
        return {"valid": mode, "test": mode}
    other = mode.get("valid", mode.get("test", "full"))
    return {"valid": other, "test": other, **mode}


def _is_split(split: object) -> bool:
    if not isinstance(split, dict) or len(split) != 1:
        return False
    ((how, shares),) = split.items()
    if how == "LS":
        return shares in LEAVE_OUT
    return (
        how in ("RS", "TS")
        and isinstance(shares, list)
        and len(shares) == 3
        and all(is_finite(share, 0) for share in shares)
        and shares[0] > 0
    )


def check_negatives(value: object) -> None:
    """Check ``train_neg_sample_args``.

    Raises:
        SettingError: at what RecBole would stumble over.
    """
    key = "train_neg_sample_args"
    if value is None or value == "None":
        return
    if not isinstance(value, dict):
        raise must_be(key, "None or a dict such as {'distribution': 'uniform', 'sample_num': 1}", value)
    checks: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "distribution": ("uniform, popularity or None", lambda v: v in ("uniform", "popularity", "None", None)),
        "sample_num": (f"an integer from 1 to {MAX_NEGATIVES}", lambda v: is_whole(v, 1, MAX_NEGATIVES)),
        "alpha": ("a number >= 0", lambda v: is_finite(v, 0)),
        "dynamic": ("True or False", lambda v: isinstance(v, bool)),
        "candidate_num": (f"an integer from 0 to {MAX_NEGATIVES}", lambda v: is_whole(v, 0, MAX_NEGATIVES)),
    }
    _point_out(key, value, checks)
    if value.get("distribution", "uniform") in (None, "None"):
        return
    for name, (want, ok) in checks.items():
        if name in value and not ok(value[name]):
            raise must_be(f"{key}: {name}", want, value[name])
    if value.get("dynamic") and not value.get("candidate_num"):
        raise must_be(f"{key}: candidate_num", f"an integer from 1 to {MAX_NEGATIVES} where dynamic is True", 0)


def _point_out(key: str, value: dict[Any, Any], known: Iterable[str]) -> None:
    for name in value:
        if name not in known:
            getLogger().warning(f"{key}: {name!r} is not known and has no effect; known are {', '.join(known)}")
