"""Which strategies there are; any package can add its own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, TypeVar

from ..options import SettingError, shown
from ..settings import PREFIX
from .base import EmbeddingStrategy

GROUP = "recbole_cel.strategies"
_REGISTERED: dict[str, type[EmbeddingStrategy[Any]]] = {}
Strategy = TypeVar("Strategy", bound=type[EmbeddingStrategy[Any]])


def register_strategy(strategy: Strategy) -> Strategy:
    """Make ``strategy`` known by its name and suffix; may be used as a decorator.

    A package that is installed can name its strategies as entry points of the group ``recbole_cel.strategies``;
    these are registered when a strategy is first asked for.

    Raises:
        ValueError: if it has no name or suffix, or another has its name, suffix or prefix.
    """
    for attribute in ("name", "suffix"):
        word = getattr(strategy, attribute, None)
        if not isinstance(word, str) or not word.isidentifier():
            raise ValueError(f"{strategy.__name__}.{attribute} must be a word, such as 'hash'")
    if strategy.Options is not EmbeddingStrategy.Options and not strategy.prefix:
        raise ValueError(f"{strategy.__name__} has options of its own, and needs a prefix for their keys")
    if strategy.prefix.startswith(PREFIX):
        raise ValueError(f"{strategy.__name__}: prefix {PREFIX} is taken by the package itself")
    for other in _REGISTERED.values():
        if other is strategy:
            return strategy
        for attribute in ("name", "suffix", "prefix"):
            value = getattr(strategy, attribute)
            if value and value == getattr(other, attribute):
                raise ValueError(
                    f"{strategy.__name__}: {attribute} {value!r} is taken by {other.__module__}.{other.__name__}"
                )
    _REGISTERED[strategy.name] = strategy
    return strategy


def strategies() -> Mapping[str, type[EmbeddingStrategy[Any]]]:
    """All strategies by name, those of installed packages included."""
    _register_entry_points()
    return MappingProxyType(_REGISTERED)


def get_strategy(name: object) -> type[EmbeddingStrategy[Any]]:
    """The strategy that is called ``name``.

    Raises:
        SettingError: if there is none, naming the nearest.
    """
    known = strategies()
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.0)[0]
    raise SettingError(
        "embedding_strategy",
        f"must be one of the {len(known)} strategies in docs/strategies.md, such as cel, got {shown(name)}; "
        f"did you mean {near}?",
    )


@cache
def _register_entry_points() -> None:
    for entry in entry_points(group=GROUP):
        register_strategy(entry.load())
