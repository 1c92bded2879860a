"""RecBole's data sets as plain data and tensors, from which they can be made again without running code."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from .checkpoint import encode as plain

ENUMS: dict[str, type[enum.Enum]] = {kind.__name__: kind for kind in (FeatureType, FeatureSource)}
CLASSES: dict[str, type[Dataset]] = {
    name: kind
    for name, kind in vars(recbole.data.dataset).items()
    if isinstance(kind, type) and issubclass(kind, Dataset)
}
# Of the run, not of the data.
OF_THE_RUN = ("config", "logger")
KIND = "kind"


class NotPlainError(TypeError):
    """A data set holds what is neither plain data nor a table; the message says which attribute."""


def encode_dataset(dataset: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """A data set as plain data.

    Args:
        dataset: of one of RecBole's own classes.
        without: attributes that are left out.

    Raises:
        NotPlainError: if it cannot be.
    """
    name = type(dataset).__name__
    if CLASSES.get(name) is not type(dataset):
        raise NotPlainError(f"{name} is no data set of RecBole's own")
    parts = {}
    for key, value in vars(dataset).items():
        if key not in (*OF_THE_RUN, *without):
            try:
                parts[key] = _encode(value)
            except TypeError as error:
                raise NotPlainError(f"{name}.{key} cannot be saved ({error})") from None
    return {"class": name, "parts": parts}


def decode_dataset(saved: Mapping[str, Any], config: Any, logger: Any, base: Any = None) -> Any:
    """The data set of :func:`encode_dataset`, under the configuration of this run.

    Args:
        saved: what that gave.
        config: RecBole's configuration.
        logger: as in RecBole's data sets.
        base: a data set from which left out attributes are taken.

    Raises:
        KeyError, TypeError, ValueError: if ``saved`` was not given by it.
    """
    kind: Any = CLASSES[saved["class"]]
    dataset = kind.__new__(kind)
    vars(dataset).update(vars(base) if base is not None else {})
    vars(dataset).update({key: _decode(value) for key, value in saved["parts"].items()})
    vars(dataset).update(config=config, logger=logger)
    return dataset


def _encode(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        if ENUMS.get(type(value).__name__) is not type(value):
            raise TypeError(f"{type(value).__name__} is not plain data")
        return {KIND: type(value).__name__, "name": value.name}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _encode_column(value[name]) for name in value.columns}
        return {
            KIND: "frame",
            "columns": columns,
            "index": torch.from_numpy(np.array(value.index, dtype=np.int64)),
        }
    if isinstance(value, Interaction):
        return {KIND: "interaction", "columns": {name: tensor.cpu() for name, tensor in value.interaction.items()}}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        return {KIND: "words", "dtype": value.dtype.kind, **_encode_words(value.tolist())}
    if isinstance(value, np.ndarray):
        return {KIND: "array", "values": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, dict):
        keys, values = list(value), list(value.values())
        if keys and all(isinstance(key, str) for key in keys) and all(_is_id(item) for item in values):
            return {KIND: "ids", **_encode_words(keys), "values": torch.tensor([int(item) for item in values])}
        return {KIND: "dict", "keys": [_encode(key) for key in keys], "values": [_encode(item) for item in values]}
    if isinstance(value, (list, tuple, set)):
        return {KIND: type(value).__name__, "values": [_encode(item) for item in value]}
    return plain(value)


def _decode(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    kind = value[KIND]
    if kind in ENUMS:
        return ENUMS[kind][value["name"]]
    if kind == "frame":
        columns = {name: _decode_column(column) for name, column in value["columns"].items()}
        index = value["index"].numpy()
        whole = bool(np.array_equal(index, np.arange(len(index))))
        return pd.DataFrame(columns, index=pd.RangeIndex(len(index)) if whole else pd.Index(index))
    if kind == "interaction":
        return Interaction(dict(value["columns"]))
    if kind == "words":
        return np.array(_decode_words(value), dtype=object if value["dtype"] == "O" else np.str_)
    if kind == "array":
        return value["values"].numpy()
    if kind == "ids":
        return dict(zip(_decode_words(value), value["values"].tolist(), strict=True))
    if kind == "dict":
        keys, values = ([_decode(item) for item in value[part]] for part in ("keys", "values"))
        return dict(zip(keys, values, strict=True))
    return {"list": list, "tuple": tuple, "set": set}[kind](_decode(item) for item in value["values"])


def _encode_column(column: Any) -> dict[str, Any]:
    """A column of numbers, or of sequences of numbers: their values end to end, and where each ends."""
    if column.dtype != object:
        return {"values": torch.from_numpy(column.to_numpy().copy())}
    rows = [np.asarray(row) for row in column]
    kinds = {row.dtype for row in rows if len(row)} or {np.dtype(np.int64)}
    if len(kinds) > 1 or any(row.ndim != 1 for row in rows):
        raise TypeError(f"column {column.name} is mixed")
    dtype = kinds.pop()
    ends = torch.tensor([len(row) for row in rows], dtype=torch.int64).cumsum(0)
    return {"values": torch.from_numpy(np.concatenate([row.astype(dtype) for row in rows])), "ends": ends}


def _decode_column(column: Mapping[str, Any]) -> Any:
    values = column["values"].numpy()
    if "ends" not in column:
        return values
    rows = np.empty(len(column["ends"]), dtype=object)
    rows[:] = np.split(values, column["ends"].tolist()[:-1]) if len(rows) else []
    return rows


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _encode_words(words: Sequence[Any]) -> dict[str, Tensor]:
    """Words end to end in UTF-8, and where each ends."""
    if not all(isinstance(word, str) for word in words):
        raise TypeError("an array of other things than words")
    parts = [word.encode("utf-8", "surrogatepass") for word in words]
    ends = torch.tensor([len(part) for part in parts], dtype=torch.int64).cumsum(0)
    return {"bytes": torch.frombuffer(bytearray(b"".join(parts) or b"\0"), dtype=torch.uint8), "ends": ends}


def _decode_words(saved: Mapping[str, Any]) -> list[str]:
    joined, ends = saved["bytes"].numpy().tobytes(), saved["ends"].tolist()
    return [joined[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends], ends)]
