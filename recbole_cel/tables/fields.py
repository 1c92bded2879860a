"""Checks of what a table's file says: every key is known, and every value is of the right kind."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..options import SettingError, shown

PLACE = re.compile(r"\{(\w+)\}")
Check = tuple[str, Callable[[Any], bool]]

TEXT: Check = ("a text", lambda v: isinstance(v, str) and v.strip() != "")
SWITCH: Check = ("True or False", lambda v: isinstance(v, bool))
COUNT: Check = ("an integer >= 1", lambda v: _is_whole(v) and v >= 1)
MAPPING: Check = ("keys with values", lambda v: isinstance(v, dict) and all(isinstance(key, str) for key in v))
TEXTS: Check = ("a list of texts", lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v))
SEEDS: Check = (
    "a list of different integers >= 0",
    lambda v: (
        isinstance(v, list) and len(v) > 0 and all(_is_whole(s) and s >= 0 for s in v) and len({*v}) == len(v)
    ),
)
EDGES: Check = (
    "a list of increasing integers >= 1",
    lambda v: isinstance(v, list) and all(_is_whole(e) and e >= 1 for e in v) and v == sorted(set(v)),
)
LISTS: Check = (
    "keys with lists of values",
    lambda v: MAPPING[1](v) and all(isinstance(one, list) and one for one in v.values()),
)
ENTRIES: Check = ("a list of entries with keys", lambda v: isinstance(v, list) and all(map(MAPPING[1], v)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(words: Sequence[str]) -> Check:
    """One of some words."""
    return f"one of {', '.join(words)}", lambda v: v in words


def either(*checks: Check) -> Check:
    """What passes one of some checks."""
    return " or ".join(want for want, _ in checks), lambda v: any(ok(v) for _, ok in checks)


def checked(
    given: Mapping[str, Any], known: Mapping[str, Check], where: str, needed: Iterable[str] = ()
) -> dict[str, Any]:
    """The keys and values of ``given``, all of them known and right; those that are None count as left out.

    Raises:
        SettingError: naming ``where`` and the nearest known key, or the value that would be right.
    """
    for key, value in given.items():
        if key not in known:
            raise SettingError(where, f"has no key {shown(key)}; did you mean {nearest(key, known)}?")
        want, ok = known[key]
        if value is not None and not ok(value):
            raise SettingError(where, f"must have {want} as {key}, got {shown(value)}")
    found = {key: value for key, value in given.items() if value is not None}
    for key in needed:
        if key not in found:
            raise SettingError(where, f"must have {known[key][0]} as {key}, which is missing")
    return found


def nearest(word: object, known: Iterable[str]) -> str:
    """The word among ``known`` that is most like ``word``."""
    return difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.0)[0]


def filled(template: str, values: Mapping[str, Any], where: str) -> str:
    """``template`` with each ``{name}`` replaced by that value.

    Raises:
        SettingError: if there is no such value.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(values) or "none"
            raise SettingError(where, f"has {match[0]} in {shown(template)}; there are {known}")
        return str(values[match[1]])

    return PLACE.sub(value, template)
