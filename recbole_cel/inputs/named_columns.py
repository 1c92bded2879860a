"""Options that name columns of the data: which must be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..options import SettingError
from .needs import listing

LISTS: tuple[str, ...] = ("numerical_features", "normalize_field")
LISTS += tuple(f"alias_of_{what}_id" for what in ("user", "item", "entity", "relation"))
MAPPINGS = ("val_interval", "discretization")


def check_named(config: Any, loaded: Iterable[str]) -> None:
    """Check that the user's options name columns that are loaded.

    Args:
        config: RecBole's configuration, of which only what the user gave is looked at.
        loaded: names of columns of all files.

    Raises:
        SettingError: naming the first option that does not, and the columns that there are.
    """
    names, given = list(dict.fromkeys(loaded)), config.external_config_dict
    wanted = [(key, name) for key in (*LISTS, *MAPPINGS) if key in given for name in given[key] or ()]
    preloaded = given.get("preload_weight")
    if isinstance(preloaded, Mapping):
        wanted += [("preload_weight", name) for pair in preloaded.items() for name in pair]
    for key, name in wanted:
        if name not in names:
            raise SettingError(key, f"names {name}, but the columns that are loaded are {listing(name, names)}")
