"""Writing files whole or not at all, into folders that were found to be writable."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from ..options import SettingError
from .signals import how_to_resume, uninterrupted

# Of the disk, not of the program.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# Folders that cannot be synchronised, on file systems or systems that have no need of it.
NO_FOLDER_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.EISDIR}


class Sink:
    """What a writer is given in place of the file, so that no exception passes through its native code.

    The first exception is kept, and nothing is written from then on.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, data: Any) -> int:
        """Write ``data``, of one byte per element; gives its length."""
        if self.error is None:
            try:
                self._file.write(data)
            except BaseException as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed at its end."""


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to, which gets its name only when it is complete and on the disk.

    What was there under the name stays until then; a signal stops the run only afterwards.

    Raises:
        OSError: if it cannot be written; no part of it is left.
    """
    path = Path(path)
    with uninterrupted():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                sink = Sink(file)
                yield cast(IO[bytes], sink)
                if sink.error is not None:
                    raise sink.error
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on the disk, where the system can.

    Raises:
        OSError: if the disk fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def check_folders(folders: Mapping[str, object]) -> None:
    """Make folders, and check that files can be written in them.

    Args:
        folders: paths by the name of the option, or of the folder itself.

    Raises:
        SettingError: naming the first that is no folder or cannot be written; no folder is made then.
    """
    for name, folder in folders.items():
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            raise SettingError(name, f"must be the path of a folder, got {folder!r}")
        with _one_line(name, folder):
            _check_place(name, Path(folder))
    for name, folder in folders.items():
        assert isinstance(folder, (str, os.PathLike))
        with _one_line(name, folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
            handle, probe = tempfile.mkstemp(prefix=".writable.", suffix=".tmp", dir=folder)
            try:
                os.write(handle, b"x")
                os.fsync(handle)
            finally:
                os.close(handle)
                os.unlink(probe)


def check_space(name: str, folder: str | os.PathLike[str], needed: int) -> None:
    """Check that the disk of ``folder`` has room for ``needed`` bytes.

    Raises:
        SettingError: of option ``name``, if not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SettingError(
            name,
            f"is {os.fspath(folder)}, on a disk with {free:,} free bytes, but the model's files need "
            f"{needed:,} at least; free some, or choose another folder",
        )


@contextmanager
def disk_errors() -> Iterator[None]:
    """Say in one line that the disk is full or fails, wherever within the block that shows.

    Raises:
        SettingError: in place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        file = f" at {error.filename}" if error.filename else ""
        raise SettingError(
            "checkpoint_dir",
            f"or a log cannot be written{file}: {error.strerror}; make room, then {how_to_resume()}",
        ) from None


def _check_place(name: str, folder: Path) -> None:
    """Check that ``folder`` is one, or can become one."""
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        what = "a link to nothing" if place.is_symlink() and not place.exists() else "a file"
        raise SettingError(name, f"must be a folder that can be written, but {place.absolute()} is {what}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise SettingError(
            name, f"must be a folder that can be written; there is no permission to write in {place.absolute()}"
        )


@contextmanager
def _one_line(name: str, folder: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingError(name, f"must be a folder that can be written, got {folder!r}: {reason}") from None


def _umask() -> int:
    # It can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of writing ``path``; only for the one run that owns the name."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            stale.unlink()
