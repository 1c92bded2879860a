"""Atomic files that appear together when all are whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ..options import SettingError
from ..runs.files import check_folders, sync_folder
from ..runs.signals import uninterrupted

KINDS = ("user", "item", "inter")


class AtomicFile:
    """An atomic file that is being written.

    Args:
        path: where to write it.
        header: names and types of its columns.

    Attributes:
        rows: how many were written.
    """

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self.path = path
        self.header = list(header)
        self.rows = 0
        self._empty = [True] * len(header)
        self._file: BinaryIO = path.open("wb")
        self._write([[name] for name in header])

    def write(self, columns: Sequence[Sequence[str]]) -> None:
        """Add rows, given by columns of texts without tabs and ends of lines.

        Raises:
            OSError: if they cannot be written.
        """
        self._empty = [empty and not any(column) for empty, column in zip(self._empty, columns)]
        self.rows += len(columns[0])
        self._write(columns)

    def _write(self, columns: Sequence[Sequence[str]]) -> None:
        text = _text(columns)
        if '"' in text:
            text = _text([[_quoted(value) for value in column] for column in columns])
        self._file.write(text.encode())

    def finish(self) -> list[str]:
        """Put it on the disk, without the columns that hold nothing; the names of those.

        Raises:
            OSError: if it cannot be written.
        """
        self._sync()
        left_out = [name for name, empty in zip(self.header, self._empty) if empty] if self.rows else []
        if left_out:
            kept = [number for number, empty in enumerate(self._empty) if not empty]
            short = self.path.with_suffix(".short")
            with self.path.open("rb") as whole, short.open("wb") as self._file:
                for line in whole:
                    # Quotes do not matter: no value holds a tab or an end of line.
                    cells = line.removesuffix(b"\n").split(b"\t")
                    self._file.write(b"\t".join(cells[number] for number in kept) + b"\n")
                self._sync(close=False)
            os.replace(short, self.path)
        return [name.partition(":")[0] for name in left_out]

    def _sync(self, close: bool = True) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        if close:
            self._file.close()

    def close(self) -> None:
        """Close it, whole or not."""
        self._file.close()


def _text(columns: Sequence[Sequence[str]]) -> str:
    return "\n".join(map("\t".join, zip(*columns))) + "\n"


def _quoted(value: str) -> str:
    """A value as it is read again: a quote at its beginning would be taken for one around it."""
    return '"' + value.replace('"', '""') + '"' if value.startswith('"') else value


class Staged:
    """The files of a data set, ``FOLDER/NAME/NAME.inter`` and so on; a context manager.

    They are written beside and renamed by :meth:`publish`; whatever ends the block before leaves the folder as it
    was.

    Args:
        folder: of data sets.
        name: of the data set.
        overwrite: whether atomic files of it that are there already may be replaced.

    Raises:
        SettingError: on entering, if they are there and may not, or the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, overwrite: bool) -> None:
        self.folder = folder / name
        self._parent, self._name, self._overwrite = folder, name, overwrite
        self._files: dict[str, AtomicFile] = {}
        self._made: list[Path] = []
        self._temporary: Path | None = None

    def __enter__(self) -> Staged:
        there = [kind for kind in KINDS if os.path.lexists(self._path(kind))]
        if there and not self._overwrite:
            raise SettingError(
                "--output",
                f"has {self._path(there[-1])} already; give another --name, or --overwrite to replace it",
            )
        place = self.folder
        while not os.path.lexists(place):
            self._made.append(place)
            place = place.parent
        check_folders({"--output": self._parent})
        if os.path.lexists(self.folder):
            check_folders({"--output": self.folder})
        self._temporary = Path(tempfile.mkdtemp(prefix=f".{self._name}.", suffix=".tmp", dir=self._parent))
        return self

    def file(self, kind: str, header: Sequence[str]) -> AtomicFile:
        """Begin the atomic file of a kind: inter, user or item."""
        assert self._temporary is not None
        self._files[kind] = AtomicFile(self._temporary / f"{self._name}.{kind}", header)
        return self._files[kind]

    def publish(self) -> None:
        """Give all files their names, the interactions last: a data set without them is none.

        Raises:
            OSError: if that fails.
        """
        with uninterrupted():
            self.folder.mkdir(exist_ok=True)
            for kind in reversed(KINDS):
                self._path(kind).unlink(missing_ok=True)
            for kind in KINDS:
                if kind in self._files:
                    os.replace(self._files[kind].path, self._path(kind))
            sync_folder(self.folder)
            self._made.clear()

    def _path(self, kind: str) -> Path:
        return self.folder / f"{self._name}.{kind}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            for file in self._files.values():
                file.close()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
            for place in self._made:
                if place.is_dir() and not any(place.iterdir()):
                    place.rmdir()
