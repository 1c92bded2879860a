"""Data sets by name: where their files are, and what they are used for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recbole

from ..config import TABLES, Config, properties_folder
from ..inputs import yaml_files
from ..inputs.fetch import fetch
from ..options import SettingError

# RecBole reads this one from its own folder, whatever data_path says.
EXAMPLE = "ml-100k"
DEFAULT = "dataset"


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: of its folder and files.
        folder: in which its folder lies.
        options: what its protocol says.
    """

    name: str
    folder: str
    options: dict[str, Any]


def find(name: str, protocol: str, own: Path, data_path: str | None, fetched: bool = True) -> DataSet:
    """A data set whose files are there, or can be fetched.

    Args:
        name: of the data set.
        protocol: such as ``label``, ``rating``, ``implicit``: what it is used for.
        own: folder of the table's file, whose ``data`` is looked into before ours.
        data_path: folder in which the folders of data sets lie.
        fetched: whether RecBole's address of it is asked if it is not there.

    Raises:
        SettingError: if it is not there, or has no such protocol; one line that says where to put it.
    """
    places = [folder / "data" / name / f"{protocol}.yaml" for folder in (own, properties_folder() / TABLES)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise SettingError("dataset", f"{name} has no protocol {protocol}; it would be in {places[0]}")
    options = yaml_files.read(file)
    example = Path(recbole.__file__).resolve().parent / "dataset_example"
    folder = example if name == EXAMPLE else Path(data_path or DEFAULT).absolute()
    atomic = folder / name / f"{name}.inter"
    if not atomic.is_file():
        if not fetched:
            raise SettingError("dataset", f"{name} is not at {atomic}; --data_path says where")
        config = Config("FM", name, config_dict={"data_path": str(folder)}, command_line=False)
        fetch(config)
    return DataSet(name, str(folder), options)
