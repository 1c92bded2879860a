"""Checkpoint files of tensors and plain data: written whole or not at all, and checked when read."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from .files import written_whole

# Raise the number when what is saved changes.
FORMAT = "recbole_cel checkpoint 7"
# Bounds of what is read: values, how deep they are nested, bytes of all that is no tensor, and how many times as
# many bytes as the file has its tensors may have, for parts of a tensor may be tensors, too.
MAX_VALUES = 1 << 22
MAX_DEPTH = 32
MAX_PICKLE = 1 << 26
MAX_SHARING = 16
ENCODED = "encoded as"
SPARSE = {"csr", "csc", "coo", "lil", "dok"}


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
        _check_archive(path)
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
        found = digest(state["content"], MAX_SHARING * path.stat().st_size)
        intact = found == state["digest"] and isinstance(state["content"], dict)
    except Exception:  # content that we do not write, such as sparse tensors
        intact = False
    if not intact:
        raise CheckpointError(f"{path}: its content was changed after it was written (digest differs)")
    content: dict[str, Any] = state["content"]
    return content


def _check_archive(path: Path) -> None:
    """Check that nothing in the file unfolds to more than the file has."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED or part.file_size > path.stat().st_size:
                raise CheckpointError(f"{path}: {part.filename} is compressed")
            if part.filename.endswith(".pkl") and part.file_size > MAX_PICKLE:
                raise CheckpointError(f"{path}: {part.filename} is too large")


def digest(value: Any, most_bytes: float = math.inf) -> str:
    """SHA-256 of nested plain data and tensors, of which there are at most so many bytes.

    Raises:
        TypeError: if ``value`` holds anything that is neither, or is too large or too deep.
    """
    return _Digest(most_bytes).of(value)


class _Digest:
    """Visits a bounded number of values, and each tensor once, however often it is referred to."""

    def __init__(self, most_bytes: float) -> None:
        self._sha = hashlib.sha256()
        self._values = 0
        self._bytes_left = most_bytes
        self._tensors: dict[tuple[Any, ...], bytes] = {}

    def of(self, value: Any) -> str:
        self._feed(value, 0)
        return self._sha.hexdigest()

    def _feed(self, value: Any, depth: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise TypeError(f"a checkpoint holds at most {MAX_VALUES} values, {MAX_DEPTH} deep")
        if isinstance(value, torch.Tensor):
            self._sha.update(self._of_tensor(value))
        elif isinstance(value, Mapping):
            self._sha.update(f"dict {len(value)};".encode())
            for key, item in value.items():
                self._feed(key, depth + 1)
                self._feed(item, depth + 1)
        elif isinstance(value, (list, tuple)):
            self._sha.update(f"{'list' if isinstance(value, list) else 'tuple'} {len(value)};".encode())
            for item in value:
                self._feed(item, depth + 1)
        elif value is None or type(value) in (bool, int, float, str):
            text = repr(value).encode()
            self._sha.update(f"{type(value).__name__} {len(text)} ".encode() + text)
        else:
            raise TypeError(f"a checkpoint holds tensors and plain data only, not {type(value).__name__}")

    def _of_tensor(self, tensor: torch.Tensor) -> bytes:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TypeError("a checkpoint holds tensors with all of their numbers only")
        data = tensor.detach()
        key = data.data_ptr(), data.dtype, tuple(data.shape), data.stride()
        if key not in self._tensors:
            self._bytes_left -= data.numel() * data.element_size()
            if self._bytes_left < 0:
                raise TypeError("its tensors are larger than the file")
            data = data.cpu().contiguous()
            sha: Any = hashlib.sha256(f"tensor {data.dtype} {tuple(data.shape)};".encode())
            sha.update(data.reshape(-1).view(torch.uint8).numpy())
            self._tensors[key] = sha.digest()
        return self._tensors[key]


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
    if isinstance(value, torch.Tensor):
        return value.detach().contiguous()
    if value is None or isinstance(value, (bool, int, float, str)):
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
    """What :func:`encode` was given.

    Raises:
        ValueError: if arrays or matrices do not hold together.
    """
    if isinstance(value, Mapping) and ENCODED in value:
        if value[ENCODED] == "numpy":
            return value["array"].numpy()
        if value[ENCODED] not in SPARSE:
            raise ValueError(f"{str(value[ENCODED])[:20]!r} is no kind of matrix")
        return _matrix(value["parts"], value["shape"]).asformat(value[ENCODED])
    if isinstance(value, Mapping):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(decode(item) for item in value)
    return value


def _matrix(parts: Any, shape: Any) -> Any:
    if not all(isinstance(part, torch.Tensor) and part.dim() == 1 for part in parts) or len(parts) != 3:
        raise ValueError("a matrix needs data, indices and starts")
    if len(shape) != 2 or not all(isinstance(size, int) and 0 <= size < 2**31 for size in shape):
        raise ValueError("a matrix needs two sizes")
    data, indices, starts = (part.numpy() for part in parts)
    if not all(np.issubdtype(part.dtype, np.integer) for part in (indices, starts)):
        raise ValueError("indices of a matrix are integers")
    found = scipy.sparse.csr_matrix(tuple(shape), dtype=data.dtype)
    found.data, found.indices, found.indptr = data, indices, starts
    # Indices out of range would be read and written without a further look.
    found.check_format(full_check=True)
    return found
