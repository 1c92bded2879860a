"""How options are declared, once for each, with their help and their checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any


class SettingError(ValueError):
    """An option has a value that it cannot have.

    Attributes:
        name: the option.
        reason: what is wrong and what would be right.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.reason = reason


def option(default: Any, help: str, want: str, ok: Callable[[Any], bool]) -> Any:
    """A dataclass field with its help text, the values it takes in words, and the check of a value."""
    return field(default=default, metadata={"help": help, "want": want, "ok": ok})


def is_int(value: object, low: int) -> bool:
    """Whether ``value`` is an integer (and no bool) of at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def is_number(value: object, low: float, *, open: bool = False) -> bool:
    """Whether ``value`` is a finite number at or above ``low`` (strictly above if ``open``)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (low < value if open else low <= value) and value < float("inf")


def is_bool(value: object) -> bool:
    """Whether ``value`` is a bool."""
    return isinstance(value, bool)
