"""Rows of raw files in which each line is an object: JSON, or the Python literals of old Amazon metadata."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..options import SettingError, shown
from .faults import fault
from .lines import Lines
from .rows import Rows

DEEPEST = 32
# What may stand in a line of literals: texts, numbers of bounded length, three names, brackets and marks. As no
# operator follows another, nothing is nested but by brackets.
LITERAL = re.compile(
    r"""[uU]?'[^'\\]*(?:\\.[^'\\]*)*'|[uU]?"[^"\\]*(?:\\.[^"\\]*)*\""""
    r"""|-?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?|True|False|None|[\[\](){}]|[,:\s]+"""
)
# A text that does not end goes to the end of the line: so each character is looked at once.
JSON_MARK = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?$)|[\[\]{}]')


class Unfit(ValueError):
    """What is wrong with a record, in words."""


def records(
    blocks: Iterable[Lines],
    place: str,
    parse: Callable[[str], dict[str, Any]],
    extract: Callable[[dict[str, Any]], tuple[str, ...]],
) -> Iterator[Rows]:
    """Rows of a file of one object a line.

    Args:
        blocks: its lines.
        place: how errors name the file.
        parse: a line to an object, or :class:`Unfit`.
        extract: an object to the texts of the columns, or :class:`Unfit`.

    Raises:
        SettingError: at a line that is unfit, after the rows before it.
    """
    for first, texts in blocks:
        rows: list[tuple[str, ...]] = []
        trouble: SettingError | None = None
        for number, text in enumerate(texts):
            try:
                rows.append(extract(parse(text)))
            except Unfit as error:
                trouble = fault(place, str(error), first + number)
                break
        if rows:
            yield Rows(range(first, first + len(rows)), [list(column) for column in zip(*rows)])
        if trouble is not None:
            raise trouble


def parse_json(text: str) -> dict[str, Any]:
    """A line of JSON.

    Raises:
        Unfit: if it is none, is nested too deeply, names a key twice, or is no object.
    """
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(mark[0] for mark in JSON_MARK.finditer(text))
    try:
        found = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Unfit(f"is no JSON: {error.msg} at character {error.pos + 1}") from None
    except Unfit:
        raise
    except (ValueError, RecursionError):  # an integer of thousands of digits
        raise Unfit("is no JSON that can be read: a number is too long") from None
    return _object(found)


def parse_literal(text: str) -> dict[str, Any]:
    """A line of Python literals; nothing in it is run.

    Raises:
        Unfit: if it holds anything else, is nested too deeply, or is no dict.
    """
    marks, position = [], 0
    while position < len(text):
        token = LITERAL.match(text, position)
        if token is None:
            raise Unfit(
                f"is no Python literal: {shown(text[position : position + 20])} at character {position + 1}"
            )
        if len(token[0]) == 1:
            marks.append(token[0])
        position = token.end()
    _check_depth(marks)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes that escape nothing
            found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise Unfit(f"is no Python literal: {reason}") from None
    return _object(found)


def parse_loose(text: str) -> dict[str, Any]:
    """A line of Python literals if its first key is quoted as Python does, otherwise of JSON.

    Raises:
        Unfit: if it is neither.
    """
    return parse_literal(text) if text.startswith("{'") else parse_json(text)


def needed_text(record: Mapping[str, Any], key: str) -> str:
    """The text under ``key``.

    Raises:
        Unfit: if there is none.
    """
    value = _needed(record, key)
    if not isinstance(value, str):
        raise Unfit(f"{key} must be text, got {_shown(value)}")
    return value


def needed_number(record: Mapping[str, Any], key: str) -> str:
    """The number under ``key``, as a text.

    Raises:
        Unfit: if there is none.
    """
    value = _needed(record, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unfit(f"{key} must be a number, got {_shown(value)}")
    return repr(value)


def needed_integer(record: Mapping[str, Any], key: str) -> str:
    """The integer under ``key``, as a text.

    Raises:
        Unfit: if there is none.
    """
    value = _needed(record, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit(f"{key} must be an integer, got {_shown(value)}")
    return repr(value)


def _needed(record: Mapping[str, Any], key: str) -> Any:
    if key not in record:
        keys = ", ".join(list(map(str, record))[:8]) or "none"
        raise Unfit(f"has no {key}; its keys are {keys[:200]}")
    return record[key]


def _shown(value: object) -> str:
    return f"a {type(value).__name__}" if isinstance(value, (dict, list)) else shown(value)


def _object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Unfit(f"must be an object with keys, got {_shown(found)}")
    return found


def _check_depth(marks: Iterable[str]) -> None:
    depth = 0
    for mark in marks:
        depth += (mark in "[({") - (mark in "])}")
        if depth > DEEPEST:
            raise Unfit(f"is nested more than {DEEPEST} deep; the file is damaged, or of another format")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unfit(f"names {shown(twice)} twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise Unfit(f"is no JSON: {name} is no number")
