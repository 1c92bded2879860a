"""RecBole's ``save_dataset`` and ``save_dataloaders``: files of plain data in place of its pickles.

A pickle runs whatever code is in it, a list of allowed classes would have to admit pandas' and torch's own
loaders, and a data set needs none: it is tables, names and numbers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole.data.dataset
from recbole.utils.argument_list import dataset_arguments

from ..options import SettingError
from . import checkpoint as checkpoints
from .checkpoint import CheckpointError
from .plain_data import decode_dataset, encode_dataset

SWITCHES = ("save_dataset", "save_dataloaders")
PATHS = ("dataset_save_path", "dataloaders_save_path")
# Where RecBole, which reads whatever lies in checkpoint_dir, finds nothing.
NOWHERE = os.path.join(os.devnull, "none")
# What the data sets are made from, besides RecBole's own list.
ARGUMENTS = (
    *dataset_arguments, "dataset", "seed", "repeatable", "numerical_features", "discretization", "encoding",
    "token_num_threshold", "convert_token_to_onehot", "kg_reverse_r", "entity_kg_num_interval",
    "relation_kg_num_interval",
)  # fmt: skip
# Large, and the same in the data set and its splits.
SHARED = ("user_feat", "item_feat", "kg_feat", "field2id_token", "field2token_id", "_preloaded_weight")


class Caches:
    """Within the block, RecBole neither reads nor writes pickles of data sets and loaders.

    A file is read only if ``dataset_save_path`` or ``dataloaders_save_path`` names it; with ``save_dataset`` and
    ``save_dataloaders`` it is written: there, or in ``checkpoint_dir`` under RecBole's names.

    Args:
        config: RecBole's configuration.

    Raises:
        SettingError: if a file is to be read and not to be written, and is not there.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._given = {key: config[key] for key in (*PATHS, *SWITCHES)}
        self._shadowed: Any = None
        for path, switch in zip(PATHS, SWITCHES):
            file = self._given[path]
            if file and not isinstance(file, str):
                raise SettingError(path, f"must be the path of a file, got {file!r}")
            if not isinstance(self._given[switch], bool | None):
                raise SettingError(switch, f"must be True or False, got {self._given[switch]!r}")
            if file and not Path(file).is_file() and (not self._given[switch] or Path(file).exists()):
                raise SettingError(path, f"names {file}, which is no file; {switch}=True writes one")

    def __enter__(self) -> Caches:
        for path, switch in zip(PATHS, SWITCHES):
            self._config[path], self._config[switch] = NOWHERE, False
        return self

    def __exit__(self, *error: object) -> None:
        for key, value in self._given.items():
            self._config[key] = value
        if self._shadowed is not None:
            vars(self._shadowed).pop("build", None)

    def folders(self) -> dict[str, object]:
        """Folders that will be written to, by option."""
        given = self._given
        return {path: os.path.dirname(given[path]) or "." for path, switch in zip(PATHS, SWITCHES)
                if given[path] and given[switch]}  # fmt: skip

    def data_set(self, make: Any) -> Any:
        """The data set from its file, or from ``make(config)``, and then written if asked for.

        Raises:
            CheckpointError: if the file that is to be read is damaged or none of ours.
            SettingError: if the data set cannot be written.
        """
        state = self._read(0, "data set")
        if state is not None:
            return _made(self._given[PATHS[0]], state["dataset"], self._config)
        data = make(self._config)
        if self._given[SWITCHES[0]]:
            self._write(0, f"{type(data).__name__}.pth", "data set", lambda: {"dataset": encode_dataset(data)})
        return data

    def splits(self, data: Any) -> None:
        """Let ``data.build()`` give the splits of the file, if it is to be read; and write them if asked for.

        RecBole's loaders are made of the splits, the samplers and the seed, so that they need no file.

        Raises:
            CheckpointError: if the file that is to be read is damaged or none of ours.
            SettingError: if the splits cannot be written.
        """
        if not self._given[PATHS[1]] and not self._given[SWITCHES[1]]:
            return
        with _one_line(SWITCHES[1]):
            unsplit = checkpoints.digest(encode_dataset(data))
        state = self._read(1, "splits", data=unsplit)
        if state is not None:
            data._change_feat_format()  # as RecBole does with loaders from a file
            file = self._given[PATHS[1]]
            built = [_made(file, split, self._config, data) for split in state["splits"]]
        else:
            built = data.build()
            if self._given[SWITCHES[1]]:
                same = [
                    key for key in SHARED if all(vars(split).get(key) is vars(data).get(key) for split in built)
                ]
                self._write(
                    1,
                    f"for-{self._config['model']}-dataloader.pth",
                    "splits",
                    lambda: {"splits": [encode_dataset(split, same) for split in built]},
                    data=unsplit,
                )
        data.build = lambda: built
        self._shadowed = data

    def _read(self, which: int, what: str, **more: Any) -> dict[str, Any] | None:
        file = self._given[PATHS[which]]
        if not file or not Path(file).is_file():
            return None
        try:
            state = checkpoints.read(file)
        except CheckpointError as error:
            raise CheckpointError(
                f"{PATHS[which]}: {error}; pickles of RecBole are not read, as they can run code: write the file "
                f"anew with {SWITCHES[which]}=True and no {PATHS[which]}"
            ) from None
        if state.get("what") != what:
            raise CheckpointError(f"{PATHS[which]}: {file}: it holds no {what}")
        wanted, found = {**self._origin(which), **more}, state.get("origin")
        changed = sorted(key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key])
        if changed:
            getLogger().warning(f"{file} is not used: {', '.join(changed)} changed since it was written")
            return None
        getLogger().info(f"Load {what} from {file}")
        return state

    def _write(self, which: int, default: str, what: str, content: Any, **more: Any) -> None:
        folder = Path(self._config["checkpoint_dir"])
        file = self._given[PATHS[which]] or folder / f"{self._config['dataset']}-{default}"
        with _one_line(SWITCHES[which]):
            checkpoints.write(file, {"what": what, "origin": {**self._origin(which), **more}, **content()})
        getLogger().info(f"Saved {what} into {file}")

    def _origin(self, which: int) -> dict[str, Any]:
        """What the file depends on: options by name, and the atomic files."""
        config = self._config
        origin = {key: checkpoints.plain(config[key]) for key in ARGUMENTS}
        own_class = hasattr(recbole.data.dataset, f"{config['model']}Dataset")
        origin["model"] = config["model"] if own_class else config["MODEL_TYPE"].name
        if which == 1:
            origin["eval_args"] = checkpoints.plain(config["eval_args"])
        start = f"{config['dataset']}."
        folder = Path(config["data_path"])
        files = sorted(file for file in folder.glob("*") if file.name.startswith(start) and file.is_file())
        origin["files"] = {file.name: _digest(file) for file in files}
        return origin


@contextmanager
def _one_line(switch: str) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        raise SettingError(switch, f"must be False here: {error}") from None


def _made(file: str, saved: Any, config: Any, base: Any = None) -> Any:
    try:
        return decode_dataset(saved, config, getLogger(), base)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise CheckpointError(f"{file}: it holds no data set of RecBole") from None


def _digest(file: Path) -> str:
    sha = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()
