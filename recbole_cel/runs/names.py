"""Names of files that no other run has, and one run at a time for each name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .checkpoint import CheckpointError
from .files import disk_errors, remove_leftovers
from .signals import take_back

try:
    import fcntl
except ImportError:  # no POSIX: names are unique there, too, but nobody is kept from resuming twice
    fcntl = None  # type: ignore[assignment]

_CLAIMED: dict[Path, int] = {}


def unique(stem: str) -> str:
    """``stem`` with an ending that no other run has, in this second or another.

    Drawn from the system, as the generators of a run are seeded alike in many runs.
    """
    return f"{stem}-{secrets.token_hex(4)}"


def unique_file(path: str | os.PathLike[str]) -> str:
    """The file name ``path``, made unique before its extension."""
    stem, extension = os.path.splitext(path)
    return f"{unique(stem)}{extension}"


def claim(path: str | os.PathLike[str]) -> None:
    """Own ``path`` and the file to resume from beside it until :func:`one_run` ends.

    Two processes that continue one run would overwrite each other's best model. What a killed run left of a file
    that it was writing is removed.

    Raises:
        CheckpointError: if another process owns it.
    """
    path = Path(path).absolute()
    if fcntl is None or path in _CLAIMED:
        return
    lock = path.with_name(f".{path.stem}.lock")
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise CheckpointError(
                f"{path}: another process is training this run now; wait for its end, or start a run of its own"
            ) from None
        except OSError:  # a file system without locks
            os.close(handle)
            return
        # Its owner may have removed it since it was opened.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                break
        os.close(handle)
    _CLAIMED[path] = handle
    for file in (path, path.with_name(f"{path.stem}-last{path.suffix}")):
        remove_leftovers(file)


@contextmanager
def one_run() -> Iterator[None]:
    """A run, from its options to its result; also a decorator. Gives up what it claimed.

    Raises:
        SettingError: if its disk is full or fails.
    """
    take_back()
    try:
        with disk_errors():
            yield
    finally:
        while _CLAIMED:
            path, handle = _CLAIMED.popitem()
            with suppress(OSError):
                path.with_name(f".{path.stem}.lock").unlink()
            os.close(handle)
