"""Fetching the data sets that RecBole knows: whole, or not at all."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from recbole.data.dataset import Dataset

from ..options import SettingError

BLOCK = 1 << 20
SCHEMES = {"https", "http", "ftp", "file"}
# Seconds without a byte.
PATIENCE = 30.0
# Bytes from which one is asked first, as in RecBole.
LARGE = 1 << 30
# What a damaged or encrypted archive raises.
BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)


def fetch(config: Any, allowed: bool = True) -> None:
    """Fetch the data set if it is one that RecBole knows and its files are not there, or not wholly.

    Files come into the data set's folder only when the archive has been read and checked to its end, the
    interactions last; so whatever ends this before leaves a data set that is fetched again.

    Args:
        config: RecBole's configuration.
        allowed: whether to look for the data set elsewhere at all.

    Raises:
        SettingError: if the folder is none, the data set is neither there nor known, or it cannot be fetched.
    """
    name, folder = config["dataset"], Path(config["data_path"])
    _check_folder(folder, name)
    if config["benchmark_filename"]:
        return
    target = folder / f"{name}.inter"
    url = _known_url(config) if allowed else None
    # Where RecBole itself keeps the archive until it is unpacked.
    leftover = None if url is None else folder / PurePosixPath(unquote(urlsplit(url).path)).name
    if target.exists() and (leftover is None or not _was_cut_short(leftover, folder, name)):
        return
    if url is None or leftover is None:
        why = "does RecBole fetch it" if allowed else "is it fetched here"
        raise SettingError(
            "dataset",
            f"is {name}, but there is no {target}, nor {why}; data_path must name the folder "
            f"in which the folder {name} is",
        )
    with _one_line(name, url, folder), _beside(folder) as scratch:
        files = _unpacked(url, leftover, scratch, name)
        if target.name not in files:
            held = ", ".join(sorted(files)) or "nothing"
            raise SettingError("dataset", f"{name}: {url} holds no {target.name}, but {held}")
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(files, key=lambda file: file == target.name):
            os.replace(files[file], folder / file)
        leftover.unlink(missing_ok=True)


def _unpacked(url: str, leftover: Path, scratch: Path, name: str) -> dict[str, Path]:
    """The files of the archive that is there already, if it is whole, else of the one that is fetched."""
    if leftover.is_file():
        try:
            return _extract(leftover, scratch, leftover.stem, name)
        except BROKEN:
            getLogger().info(f"{leftover} is no whole archive and is fetched again")
    getLogger().info(f"Fetching data set {name} from {url}")
    archive = scratch / "archive.zip"
    _download(url, archive, name)
    return _extract(archive, scratch, leftover.stem, name)


def _was_cut_short(archive: Path, folder: Path, name: str) -> bool:
    """Whether unpacking the archive was interrupted: a file in the folder is the beginning of one in it only."""
    if not archive.is_file():
        return False
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                path = folder / _name_of(member, archive.stem, name)
                size = path.stat().st_size if path.is_file() else member.file_size
                if size < member.file_size:
                    with packed.open(member) as whole, path.open("rb") as part:
                        if all(whole.read(len(block)) == block for block in iter(lambda: part.read(BLOCK), b"")):
                            return True
    except (*BROKEN, OSError):
        # What lies in the folder cannot have come from it.
        return False
    return False


def _check_folder(folder: Path, name: str) -> None:
    if (
        not name
        or not isinstance(name, str)
        or name in (".", "..")
        or "\0" in name
        or PurePosixPath(name).name != name
    ):
        raise SettingError("dataset", f"must be the name of a folder in data_path, got {name!r}")
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            if not path.is_dir():
                raise SettingError(
                    "data_path",
                    f"must name a folder; {path} is {'no folder' if path.exists() else 'a link to nothing'}",
                )
            if not os.access(path, os.R_OK | os.X_OK):
                raise SettingError("data_path", f"names {path}, which cannot be read")
            return


def _known_url(config: Any) -> str | None:
    """Where RecBole has the data set; it asks its own data set class."""
    asking = Dataset.__new__(Dataset)
    asking.config, asking.dataset_name, asking.dataset_path = config, config["dataset"], config["data_path"]
    try:
        return str(asking._get_download_url("url"))
    except ValueError:
        return None


@contextmanager
def _one_line(name: str, url: str, folder: Path) -> Iterator[None]:
    """Tell what goes wrong with the network, the archive or the disk in one line."""
    try:
        yield
    except BROKEN as error:
        raise SettingError(
            "dataset", f"{name}: {url} gave no whole archive ({error}); run again to fetch it again"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        # An error of HTTP says its number only in full; others are wrapped by urllib.
        cause = error if isinstance(error, HTTPError) else getattr(error, "reason", None) or error
        reason = " ".join(str(cause).split()) or type(error).__name__
        raise SettingError(
            "dataset",
            f"{name} is not in {folder} and cannot be fetched from {url}: {reason}; run again with a network, or "
            "put the files there",
        ) from None


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """An own folder on the disk of ``folder``, removed afterwards."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _download(url: str, archive: Path, name: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise SettingError("dataset", f"{name} cannot be fetched from {url}, which is no address of the web")
    with urllib.request.urlopen(url, timeout=PATIENCE) as source, archive.open("wb") as file:  # nosec B310
        size = int(source.headers.get("Content-Length") or -1)
        if size > LARGE:
            _ask(name, size)
        shutil.copyfileobj(source, file, BLOCK)
    got = archive.stat().st_size
    if size >= 0 and got != size:
        raise EOFError(f"it ended after {got} of {size} bytes")


def _ask(name: str, size: int) -> None:
    question = f"{name} is {size / LARGE:.1f} GB; fetch it? (y/N) "
    if not sys.stdin.isatty():
        raise SettingError("dataset", f"{name} is not here, and has {size / LARGE:.1f} GB; fetch it in a terminal")
    if input(question).strip().lower() != "y":
        raise SettingError("dataset", f"{name} is not here, and was not to be fetched")


def _extract(archive: Path, scratch: Path, old: str, new: str) -> dict[str, Path]:
    """Unpack the files and check them against their checksums.

    Returns:
        Where each file lies, by its name in the data set's folder.
    """
    files = {}
    with zipfile.ZipFile(archive) as packed:
        for number, member in enumerate(packed.infolist()):
            name = _name_of(member, old, new)
            if member.is_dir() or name in ("", ".", ".."):
                continue
            path = scratch / f"{number}"
            with packed.open(member) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, BLOCK)
                target.flush()
                os.fsync(target.fileno())
            files[name] = path
    return files


def _name_of(member: zipfile.ZipInfo, old: str, new: str) -> str:
    """Name of a file in the data set's folder: RecBole names it after the data set, not after the archive.

    Folders in an archive are left out, as they could lead anywhere.
    """
    file = PurePosixPath(member.filename.replace("\\", "/"))
    return f"{file.stem.replace(old, new)}{file.suffix}"
