"""Classes that a function makes can be pickled: by the function and its arguments, which have names."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any


class Made(type):
    """The type of such classes; pickle asks only the type of a class whether it is to be found by its name."""

    made_by: tuple[Callable[..., type], tuple[Any, ...]]


def make_class(
    maker: Callable[..., Any],
    arguments: tuple[Any, ...],
    name: str,
    bases: tuple[type, ...],
    body: Mapping[str, Any],
) -> Any:
    """A class that is pickled as ``maker(*arguments)``.

    Args:
        maker: the function of a module that makes the class; must give the same one each time.
        arguments: of the maker, such that can be pickled.
        name: of the class.
        bases: what it inherits from.
        body: its attributes.
    """
    return _metaclass(*{type(base): None for base in bases})(name, bases, {**body, "made_by": (maker, arguments)})


@cache
def _metaclass(*kinds: type) -> type:
    """``Made``, together with the metaclasses of the bases."""
    others = tuple(kind for kind in kinds if not issubclass(Made, kind))
    found = next((kind for kind in others if issubclass(kind, Made)), None)
    if found is None:
        found = type("Made", (Made, *others), {}) if others else Made
        copyreg.pickle(found, _reduce)
    return found


def _reduce(made: type) -> Any:
    # A subclass that somebody writes is found by its name, as any other.
    return vars(made).get("made_by", made.__qualname__)
