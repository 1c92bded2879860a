"""Checkpoint files of tensors and plain data: written whole or not at all, and checked when read."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from .files import written_whole

# Raise the number when what is saved changes.
FORMAT = "recbole_cel checkpoint 4"
ENCODED = "encoded as"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message is one line that names the file and says why."""


def write(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write ``content`` (nested dicts, lists, tuples, numbers, strings, tensors) to ``path``, atomically.

    The file appears under its name only when it is complete; a file that was there stays until then.

    Raises:
        TypeError: if anything else is in ``content``.
        OSError: if it cannot be written.
    """
    state = {"format": FORMAT, "digest": digest(content), "content": dict(content)}
    with written_whole(path) as file:
        torch.save(state, file)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write` wrote, tensors on the CPU. No code in the file is run.

    Raises:
        CheckpointError: if the file is missing, cut off, changed, or no checkpoint of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path}: no permission to read it")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever an arbitrary file makes the reader stumble over
        raise CheckpointError(
            f"{path}: cut off, damaged, or no checkpoint of recbole_cel (it must hold tensors and plain data only)"
        ) from None
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        if isinstance(found, str) and found.startswith(FORMAT.rstrip("0123456789")):
            raise CheckpointError(
                f"{path}: written by another version of recbole_cel ('{found}', and this one reads '{FORMAT}'); "
                "read it with that version, or train again"
            )
        raise CheckpointError(f"{path}: not written by recbole_cel (expected format '{FORMAT}')")
    try:
        intact = digest(state["content"]) == state["digest"] and isinstance(state["content"], dict)
    except Exception:  # content that we do not write, such as sparse tensors
        intact = False
    if not intact:
        raise CheckpointError(f"{path}: its content was changed after it was written (digest differs)")
    content: dict[str, Any] = state["content"]
    return content


def digest(value: Any) -> str:
    """SHA-256 of nested plain data and tensors.

    Raises:
        TypeError: if ``value`` holds anything that is neither.
    """
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous()
        sha.update(f"tensor {data.dtype} {tuple(data.shape)};".encode())
        sha.update(data.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        sha.update(f"dict {len(value)};".encode())
        for key, item in value.items():
            _feed(sha, key)
            _feed(sha, item)
    elif isinstance(value, (list, tuple)):
        sha.update(f"{'list' if isinstance(value, list) else 'tuple'} {len(value)};".encode())
        for item in value:
            _feed(sha, item)
    elif value is None or type(value) in (bool, int, float, str):
        text = repr(value).encode()
        sha.update(f"{type(value).__name__} {len(text)} ".encode() + text)
    else:
        raise TypeError(f"a checkpoint holds tensors and plain data only, not {type(value).__name__}")


def plain(value: Any) -> Any:
    """``value`` with NumPy numbers made Python numbers.

    Raises:
        TypeError: at anything else that :func:`write` would refuse.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    raise TypeError(f"{type(value).__name__} is not plain data")


def encode(value: Any) -> Any:
    """``value`` as plain data: NumPy arrays and SciPy matrices become marked dicts of tensors.

    Raises:
        TypeError: at anything else that :func:`write` would refuse.
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {ENCODED: "numpy", "array": torch.from_numpy(value.copy())}
    if scipy.sparse.issparse(value):
        matrix = value.tocsr()
        parts = [torch.from_numpy(np.asarray(part)) for part in (matrix.data, matrix.indices, matrix.indptr)]
        return {ENCODED: value.format, "parts": parts, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(encode(item) for item in value)
    return plain(value)


def decode(value: Any) -> Any:
    """What :func:`encode` was given."""
    if isinstance(value, Mapping) and ENCODED in value:
        if value[ENCODED] == "numpy":
            return value["array"].numpy()
        parts = tuple(part.numpy() for part in value["parts"])
        return scipy.sparse.csr_matrix(parts, shape=tuple(value["shape"])).asformat(value[ENCODED])
    if isinstance(value, Mapping):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(decode(item) for item in value)
    return value


def random_state() -> dict[str, Any]:
    """The state of all random number generators of the process."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    name, keys, position, has_gauss, cached = numpy_state
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.tensor(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what :func:`random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
