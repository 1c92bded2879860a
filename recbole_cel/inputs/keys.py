"""Names of options: ours must be right, and RecBole's that are not known are pointed out."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from recbole.utils import argument_list

from ..options import SettingError, shown
from ..settings import PREFIX, CELSettings
from ..strategies import strategies
from ..strategies.budget import KEY as BUDGET

# Keys without a prefix of their own.
OF_ALL_STRATEGIES = ("embedding_strategy", BUDGET)
TASK = "task"
# Read in RecBole's code, but in none of its property files.
READ_IN_CODE = frozenset((
    "model", "dataset", "config_files", "encoding", "verbose", "warm_up_step", "eta", "cin", "contrast", "sim",
    "has_residual", "norm", "tail_ratio", "token_num_threshold", "use_filter", "xgb_early_stopping_rounds",
    "neg_sampling", "training_neg_sample_num", "numerical_features", "feature_num",
    "valid_neg_sample_args", "test_neg_sample_args", "MASK_INDEX", "MASK_ITEM_SEQ", "POS_ITEMS", "NEG_ITEMS",
    "INVERSE_ITEM_SEQ", "CROP_ITEM_SEQ", "CROP_ITEM_SEQ_LEN", "REORDER_ITEM_SEQ",
))  # fmt: skip
# The teacher of KD_DAGFM takes any option of its own with this before it.
OF_TEACHER = "t_"
TOP_LEVEL = re.compile(r"^([A-Za-z_][\w-]*)[ \t]*:", re.MULTILINE)


def check_keys(given: Mapping[Any, Any], source: str) -> None:
    """Check that all names in ``given`` are words, and that those which are meant to be ours are.

    Args:
        given: options.
        source: where they are from, for the message.

    Raises:
        SettingError: at one of ours in another spelling, naming the right one.
    """
    for key in given:
        if not isinstance(key, str) or not key.strip():
            raise SettingError(source, f"must have names of options as keys, got {shown(key)}")
        meant = _meant(key)
        if meant is not None:
            raise SettingError(shown(key).strip("'\""), f"is not an option of recbole_cel; did you mean {meant}?")


def _meant(key: str) -> str | None:
    """The option of ours that ``key`` is another spelling of."""
    ours = _own_keys()
    if key in ours or any(key.startswith(prefix) for prefix in _prefixes()):
        return None  # whoever reads the prefix checks the rest
    compact = {_compact(name): name for name in ours}
    bare = _compact(key)
    if bare in compact:
        return compact[bare]
    if re.match(r"\W*cel(\W|_|$)", key, re.IGNORECASE):
        return _nearest(PREFIX + bare[len("cel") :], ours) or f"{PREFIX}levels"
    near = difflib.get_close_matches(bare, compact, n=1, cutoff=0.85)
    if near and (bare.startswith(("ce", "cl")) or compact[near[0]] in OF_ALL_STRATEGIES):
        return compact[near[0]]
    return None


def unknown_keys(given: Iterable[str], read: Iterable[str]) -> dict[str, str | None]:
    """Names in ``given`` that nothing reads, each with the nearest that is read, if one is near.

    Args:
        given: names of options.
        read: names that this model and data set have in addition to those that RecBole and we know.
    """
    known = {*known_keys(), *read}
    found: dict[str, str | None] = {}
    for key in given:
        if key in known or any(key.startswith(prefix) for prefix in _prefixes()):
            continue
        if key.startswith(OF_TEACHER) and key[len(OF_TEACHER) :] in known:
            continue
        found[key] = _nearest(key, known)
    return found


def is_without_prefix(key: str, own: str | None) -> bool:
    """Whether ``key`` is our option ``own`` but for its prefix."""
    return own is not None and own.startswith(PREFIX) and _compact(key) == _compact(own[len(PREFIX) :])


def _nearest(key: str, known: Iterable[str]) -> str | None:
    # Without a prefix, too: ``levels`` is meant to be ``cel_levels``.
    compact: dict[str, str] = {}
    for name in sorted(known):
        compact.setdefault(_compact(name.removeprefix(PREFIX)), name)
        compact[_compact(name)] = name
    bare = _compact(key)
    near = difflib.get_close_matches(bare, compact, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(bare, [name for name in compact if name.endswith(bare)], 1, 0.5)
    near = near or difflib.get_close_matches(bare, compact, n=1, cutoff=0.6)
    return compact[near[0]] if near else None


@cache
def known_keys() -> frozenset[str]:
    """All names that RecBole, its models, its data sets and we have for options."""
    recbole = files("recbole") / "properties"
    texts = [
        file.read_text(encoding="utf-8")
        for folder in ("dataset", "model", "quick_start_config")
        for file in (recbole / folder).iterdir()
        if file.name.endswith(".yaml") and not file.name.endswith("url.yaml")
    ]
    texts.append((recbole / "overall.yaml").read_text(encoding="utf-8"))
    found = {name for text in texts for name in TOP_LEVEL.findall(text)}
    for part in ("general", "training", "evaluation", "dataset"):
        found.update(getattr(argument_list, f"{part}_arguments"))
    # In RecBole's list, but read nowhere: meant is ``config_files``.
    found.discard("config_file")
    return frozenset(found | READ_IN_CODE | set(_own_keys()))


def keys_of(properties: Iterable[Path]) -> set[str]:
    """Names of options in property files."""
    return {name for file in properties for name in TOP_LEVEL.findall(file.read_text(encoding="utf-8"))}


def _own_keys() -> tuple[str, ...]:
    names = [PREFIX + spec.name for spec in dataclasses.fields(CELSettings)]
    for strategy in strategies().values():
        if strategy.prefix:
            names += [strategy.prefix + spec.name for spec in dataclasses.fields(strategy.Options)]
    return (*names, *OF_ALL_STRATEGIES, TASK)


def _prefixes() -> list[str]:
    return [PREFIX, *(strategy.prefix for strategy in strategies().values() if strategy.prefix)]


def _compact(key: str) -> str:
    return re.sub(r"[\W_]+", "", key).lower()
