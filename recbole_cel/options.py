"""How options are declared, once for each, with their help and their checks."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

Options = TypeVar("Options")
# Of one value in a message, and of a message: what is longer is left out in its middle.
MAX_SHOWN = 80
MAX_LINE = 900
# Of whatever a run counts, more than it could do.
MAX_COUNT = 10**15
# Set to anything in the environment, it shows where in the code a one-line error is from.
SHOW_TRACEBACK = "RECBOLE_CEL_TRACEBACK"


class SettingError(ValueError):
    """An option has a value that it cannot have.

    Attributes:
        name: the option.
        reason: what is wrong and what would be right.
    """

    def __init__(self, name: str, reason: str) -> None:
        line = f"{name} {reason}"
        half = MAX_LINE // 2 - 5
        super().__init__(line if len(line) <= MAX_LINE else f"{line[:half]} [...] {line[-half:]}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.name, self.reason)


def shown(value: object) -> str:
    """``repr`` of ``value`` in one line of bounded length; it must be of bounded size itself."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a number of very many digits"
    except Exception:  # of an object of the user's own
        text = f"a {type(value).__name__}"
    text = " ".join(text.splitlines())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def option(default: Any, help: str, want: str, ok: Callable[[Any], bool]) -> Any:
    """A dataclass field with its help text, the values it takes in words, and the check of a value."""
    return field(default=default, metadata={"help": help, "want": want, "ok": ok})


def is_int(value: object, low: int, high: float = math.inf) -> bool:
    """Whether ``value`` is an integer (and no bool) from ``low`` to ``high``."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: object, low: float, *, open: bool = False) -> bool:
    """Whether ``value`` is a finite number at or above ``low`` (strictly above if ``open``)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # An integer may be larger than any float.
    return (low < value if open else low <= value) and value <= sys.float_info.max


def is_bool(value: object) -> bool:
    """Whether ``value`` is a bool."""
    return isinstance(value, bool)


def check_options(options: Any) -> None:
    """Check every option of a dataclass whose fields are made by :func:`option`; for its ``__post_init__``.

    Raises:
        SettingError: at the first that has a value that it cannot have.
    """
    for spec in fields(options):
        value = getattr(options, spec.name)
        if not spec.metadata["ok"](value):
            raise SettingError(spec.name, f"must be {spec.metadata['want']}, got {shown(value)}")


def read_options(kind: type[Options], prefix: str, config: Mapping[str, Any]) -> Options:
    """Read and check all keys of ``config`` that begin with ``prefix``; other keys are not looked at.

    Raises:
        SettingError: at an unknown key (naming the nearest valid one) or a bad value.
    """
    known = {prefix + spec.name: spec.name for spec in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, value in config.items():
        if not key.startswith(prefix):
            continue
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            hint = f"did you mean {near[0]}?" if near else "there are none that begin so"
            raise SettingError(key, f"is not an option of recbole_cel; {hint}")
        values[known[key]] = value
    try:
        return kind(**values)
    except SettingError as error:
        raise SettingError(prefix + error.name, error.reason) from None
