"""What values of raw files must be; each check says what is wrong with a text, or None."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from ..inputs.columns import MISSING, PADDING
from ..options import shown

Check = Callable[[str], "str | None"]
# Characters; pandas reads no longer values.
LONGEST = 100_000
LONGEST_ID = 1000
PLAIN_ID = re.compile(r"[!-~]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
BREAK = re.compile(r"[\x00-\x1f]")
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
INTEGER = re.compile(r"-?[0-9]{1,18}")
# Any time of a review in milliseconds is above it, and any in seconds below.
MILLISECONDS = 10**11


def first_fault(values: Sequence[str], check: Check) -> tuple[int, str] | None:
    """Place among ``values`` of the first that ``check`` finds wrong, and why."""
    bad = {value: reason for value in set(values) if (reason := check(value)) is not None}
    if not bad:
        return None
    place = next(number for number, value in enumerate(values) if value in bad)
    return place, bad[values[place]]


def identifier(what: str) -> Check:
    """An id that RecBole reads as it stands."""

    def check(value: str) -> str | None:
        if value in MISSING:
            if not value:
                return f"the {what} is empty"
            return f"the {what} {shown(value)} would be read as a missing one; name it otherwise"
        if value == PADDING:
            return f"the {what} {PADDING} is what RecBole calls a missing id; name it otherwise"
        if len(value) > LONGEST_ID:
            return f"the {what} has {len(value):,} characters, more than {LONGEST_ID:,}"
        if PLAIN_ID.fullmatch(value):
            return None
        if CONTROL.search(value):
            return f"the {what} {shown(value)} holds a tab, an end of line or another control character"
        if value != value.strip():
            return f"the {what} {shown(value)} has space around it"
        return None

    return check


def rating(low: float, high: float, step: float | None = None) -> Check:
    """A finite number from ``low`` to ``high``, in steps if one is given."""
    steps = f" in steps of {step:g}" if step else ""

    def check(value: str) -> str | None:
        if not NUMBER.fullmatch(value):
            return f"the rating {shown(value)} is no finite number; it must be from {low:g} to {high:g}"
        number = float(value)
        if not low <= number <= high or (step and (number / step) % 1):
            return f"the rating {value} must be from {low:g} to {high:g}{steps}"
        return None

    return check


def seconds(value: str) -> str | None:
    """A time in whole seconds since 1970."""
    return _time(value) or (
        f"the timestamp {value} must be in seconds, and looks like milliseconds"
        if int(value) >= MILLISECONDS
        else None
    )


def milliseconds(value: str) -> str | None:
    """A time in whole milliseconds since 1970."""
    if trouble := _time(value):
        return trouble
    if int(value) < MILLISECONDS:
        return f"the timestamp {value} must be in milliseconds, and looks like seconds"
    return f"the timestamp {value} is after the year 2286" if int(value) >= 10**13 else None


def _time(value: str) -> str | None:
    if not INTEGER.fullmatch(value):
        return f"the timestamp {shown(value)} is no integer"
    return f"the timestamp {value} is negative" if int(value) < 0 else None


def integer(what: str, low: int, high: int) -> Check:
    """An integer from ``low`` to ``high``."""

    def check(value: str) -> str | None:
        if INTEGER.fullmatch(value) and low <= int(value) <= high:
            return None
        return f"the {what} {shown(value)} must be an integer from {low} to {high}"

    return check


def one_of(what: str, allowed: Collection[str]) -> Check:
    """One of a few texts."""

    def check(value: str) -> str | None:
        return None if value in allowed else f"the {what} {shown(value)} must be {' or '.join(allowed)}"

    return check


def text(what: str) -> Check:
    """A text in one line that is not too long; it may be empty."""

    def check(value: str) -> str | None:
        if len(value) > LONGEST:
            return f"the {what} has more than {LONGEST:,} characters"
        if BREAK.search(value):
            return f"the {what} {shown(value)} holds a tab, an end of line or another control character"
        return None

    return check


def filled(what: str) -> Check:
    """A text that is not too long, nor empty."""
    within = text(what)

    def check(value: str) -> str | None:
        return within(value) if value.strip() else f"the {what} is empty"

    return check
