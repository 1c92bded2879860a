"""Which raw files are meant: a file, or those of a folder or a zip archive that have the names of the format."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from ..options import SettingError
from .formats import Part
from .streams import BROKEN, ZIP, Raw, begins_with

MOST_SHOWN = 6
HINTS = {
    "inter": "give the one that is meant as SOURCE",
    "item": "name the one that is meant by --items",
    "user": "keep one of them there",
}


def find(source: Path, parts: Mapping[str, Part]) -> dict[str, Raw]:
    """The raw files in ``source``, by the atomic file that they become; always with ``inter``.

    Args:
        source: a file, which holds the interactions; or a zip archive, or a folder, with the folders in it.
        parts: of the format.

    Raises:
        SettingError: if there is no such file, none with the interactions, or several that could be meant.
    """
    if source.is_dir():
        found = [Raw(path) for path in _within(source)]
    elif not source.exists():
        raise SettingError("SOURCE", f"is {source}, but there is no such file or folder")
    elif not begins_with(source, ZIP):
        return {"inter": Raw(source)}
    else:
        try:
            with zipfile.ZipFile(source) as archive:
                names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        except BROKEN as error:
            raise SettingError("SOURCE", f"is {source}, a damaged archive ({error}); fetch it again") from None
        found = [Raw(source, name) for name in names if not name.startswith("__MACOSX/")]
    chosen: dict[str, Raw] = {}
    for raw in found:
        kind = _kind(raw.name, parts)
        if kind is None:
            continue
        if kind in chosen:
            hint = HINTS[kind]
            raise SettingError(
                "SOURCE", f"is {source}, in which {chosen[kind].place} and {raw.place} could be meant; {hint}"
            )
        chosen[kind] = raw
    if "inter" not in chosen:
        there = ", ".join(raw.name for raw in found[:MOST_SHOWN]) or "no file"
        more = ", ..." if len(found) > MOST_SHOWN else ""
        wanted = " or ".join(parts["inter"].files)
        raise SettingError("SOURCE", f"is {source}, in which there is no {wanted}; there is {there}{more}")
    return chosen


def _within(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        places = sorted(Path(entry.path) for entry in entries if not entry.name.startswith("."))
    files = [place for place in places if place.is_file()]
    for place in places:
        if place.is_dir():
            files += sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
    return files


def _kind(name: str, parts: Mapping[str, Part]) -> str | None:
    plain = name.removesuffix(".gz")
    fits = [kind for kind, part in parts.items() if any(fnmatchcase(plain, pattern) for pattern in part.files)]
    return fits[-1] if fits else None
