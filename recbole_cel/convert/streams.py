"""Opening raw files: plain, compressed by gzip, or within a zip archive, with progress by bytes."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from .faults import fault

# What damaged or encrypted archives raise.
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, RuntimeError, NotImplementedError)
GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
BUFFER = 1 << 18


@dataclass(frozen=True)
class Raw:
    """A raw file.

    Attributes:
        path: of the file, or of the archive that it is in.
        member: its name in the archive.
    """

    path: Path
    member: str | None = None

    @property
    def place(self) -> str:
        """How errors name it."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def name(self) -> str:
        """Its own name, without folders."""
        return self.path.name if self.member is None else self.member.rpartition("/")[2]


class _Counted(io.FileIO):
    """A file that tells how many bytes are read of it."""

    tell_read: Callable[[int], Any]

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.tell_read(count or 0)
        return count


def begins_with(path: Path, mark: bytes) -> bool:
    """Whether the first bytes of a file are ``mark``.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


@contextmanager
def opened(raw: Raw, tell_read: Callable[[int], Any]) -> Iterator[BinaryIO]:
    """The bytes of ``raw``, uncompressed if they begin as gzip's do, whatever the file's name is.

    Args:
        raw: the file.
        tell_read: is told how many bytes of the file on the disk were read, time and again.

    Raises:
        SettingError: if it is in a damaged or encrypted archive.
        OSError: if it cannot be read.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_Counted(raw.path, "rb"))
        file.tell_read = tell_read
        stream = cast(BinaryIO, stack.enter_context(io.BufferedReader(file, BUFFER)))
        if raw.member is not None:
            try:
                archive = stack.enter_context(zipfile.ZipFile(stream))
                stream = cast(BinaryIO, stack.enter_context(archive.open(raw.member)))
            except BROKEN as error:
                raise fault(raw.place, f"cannot be taken out of the archive: {error}") from None
        try:
            head = cast(Any, stream).peek(len(GZIP))[: len(GZIP)]
        except BROKEN as error:
            raise fault(raw.place, f"is in a damaged archive ({error}); fetch it again") from None
        if head == GZIP:
            stream = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=stream)))
        yield stream
