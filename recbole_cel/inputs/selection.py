"""Which rows are kept, and how they are divided into parts for training, validation and test."""

from __future__ import annotations

import re
from typing import Any

from ..options import SettingError, is_number

LEFT_OUT = ("valid_and_test", "valid_only", "test_only")
NUMBER = r"\s*[-+]?(inf|\d+\.?\d*(e[-+]?\d+)?|\.\d+(e[-+]?\d+)?)\s*"
INTERVAL = re.compile(rf"\s*[\[(]{NUMBER},{NUMBER}[\])]\s*", re.IGNORECASE)


def check_selection(config: Any) -> None:
    """Check the filters and the split.

    Raises:
        SettingError: at an interval or a split that RecBole would read otherwise than it is written.
    """
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        if config[key] is not None:
            _check_interval(key, config[key])
    values = config["val_interval"]
    if values is not None and not isinstance(values, dict):
        raise SettingError(
            "val_interval", f"must be intervals by column, such as {{rating: '[1,5]'}}, got {values!r}"
        )
    for field, interval in (values or {}).items():
        # For tokens it is a list of those that are kept.
        if not isinstance(interval, list):
            _check_interval(f"val_interval of {field}", interval)
    if config["benchmark_filename"] is None:
        _check_split(config["eval_args"]["split"])


def wanted_parts(config: Any) -> list[bool]:
    """Whether training, validation and test shall each have rows."""
    split = config["eval_args"]["split"]
    if config["benchmark_filename"] is not None:
        return [True, True, True]
    if "LS" in split:
        return [True, split["LS"] != "test_only", split["LS"] != "valid_only"]
    return [ratio > 0 for ratio in next(iter(split.values()))]


def _check_interval(key: str, interval: object) -> None:
    if not isinstance(interval, str) or not all(INTERVAL.fullmatch(part) for part in interval.split(";")):
        raise SettingError(
            key, f"must be an interval such as '[5,inf)', or several with ; between, got {interval!r}"
        )


def _check_split(split: object) -> None:
    wanted = "must be {RS: [0.8, 0.1, 0.1]}, {TS: [0.8, 0.1, 0.1]} or {LS: valid_and_test}"
    if not isinstance(split, dict) or len(split) != 1 or next(iter(split)) not in ("RS", "TS", "LS"):
        raise SettingError("eval_args: split", f"{wanted}, got {split!r}")
    ((way, value),) = split.items()
    if way == "LS":
        if value not in LEFT_OUT:
            raise SettingError("eval_args: split LS", f"must be one of {', '.join(LEFT_OUT)}, got {value!r}")
    elif not isinstance(value, list) or len(value) != 3 or not all(is_number(ratio, 0) for ratio in value):
        raise SettingError(f"eval_args: split {way}", f"must be three shares of the rows, got {value!r}")
    elif value[0] == 0:
        raise SettingError(f"eval_args: split {way}", f"must leave rows for training, got {value!r}")
