"""Plain data of bounded size: what a configuration may hold, and how what is wrong is said."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ..options import SettingError, shown

# Far above any configuration that is meant, far below what takes a second to walk through.
MAX_DEPTH = 20
MAX_VALUES = 200_000


def must_be(key: str, want: str, value: object) -> SettingError:
    """The error of a ``key`` whose ``value`` is not what it must be."""
    return SettingError(key, f"must be {want}, got {shown(value)}")


def literal(text: str) -> Any:
    """The Python literal that ``text`` is, also with ``true`` and ``false``; else ``text`` itself.

    RecBole evaluates such texts as Python. Literals are all that a setting needs, and run no code.
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    # As in RecBole, sets, bytes and complex numbers stay the text that they are written as.
    return value if isinstance(value, (str, int, float, list, tuple, dict, type(None))) else text


def check_bounded(key: str, value: object) -> None:
    """Check that nested dicts, lists and tuples in ``value`` hold no cycle, and are neither deep nor large.

    What is shared counts each time that it is met, as it does for whoever prints or copies it.

    Raises:
        SettingError: naming ``key``.
    """
    seen = 0
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if isinstance(item, Mapping):
            children: Any = (*item.keys(), *item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            children = item
        else:
            continue
        if depth > MAX_DEPTH:
            raise SettingError(key, f"must be nested at most {MAX_DEPTH} deep, and must not hold itself")
        # Counted before they are kept: a value that is small itself may be shared very often.
        if seen + len(waiting) + len(children) > MAX_VALUES:
            raise SettingError(key, f"must hold at most {MAX_VALUES} values")
        waiting.extend((child, depth + 1) for child in children)
