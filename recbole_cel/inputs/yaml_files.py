"""Config files: YAML of bounded size, read without running anything, and errors with line and column."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..options import SettingError, shown
from .plain import MAX_DEPTH

# A config file of RecBole has some kilobytes; reading this much takes about a second.
MAX_BYTES = 128 * 1024
# Values after every alias has been replaced by what it stands for.
MAX_NODES = 20_000


class Loader(yaml.SafeLoader):
    """Plain YAML with RecBole's notion of numbers: 1e-4 is one."""


# As in RecBole's Config; YAML itself wants a point and a sign in the exponent.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:
         [-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |\.[0-9_]+(?:[eE][-+][0-9]+)?
        |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


class CheckedLoader(Loader):
    """As ``Loader``; depth, size and keys are checked on the way, and every error has a line and a column."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """The node of the next event, unless that lies too deep."""
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _error(f"nested more than {MAX_DEPTH} deep", self.peek_event())
        if self._nodes > MAX_NODES:
            raise _error(f"more than {MAX_NODES} values", self.peek_event())
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_document(self, node: Node) -> Any:
        """What the document says, if it is bounded and says nothing twice."""
        _count(node, {})
        self._check_keys(node, set())
        return super().construct_document(node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """What one node says."""
        if isinstance(node, ScalarNode) and any("\ud800" <= sign <= "\udfff" for sign in node.value):
            raise _error(f"{shown(node.value)} holds half of a pair of UTF-16, which is no character", node)
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # Of a text that is not what its tag or its looks say, such as the date 2020-13-45.
            raise _error(f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}", node) from None

    def _check_keys(self, node: Node, done: set[int]) -> None:
        if id(node) in done or isinstance(node, ScalarNode):
            return
        done.add(id(node))
        if isinstance(node, SequenceNode):
            for child in node.value:
                self._check_keys(child, done)
            return
        first: dict[Hashable, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise _error("a key must be a word", key)
            same = first.setdefault((key.tag, key.value), key)
            if same is not key:
                line = same.start_mark.line + 1
                raise _error(f"key {shown(key.value)} is given twice, first in line {line}", key)
            self._check_keys(value, done)


def _count(node: Node, sizes: dict[int, int | None]) -> int:
    """Values in ``node`` with its aliases written out; ``sizes`` holds those of the nodes met, None meanwhile."""
    if id(node) in sizes:
        size = sizes[id(node)]
        if size is None:
            raise _error("it holds itself", node)
        return size
    sizes[id(node)] = None
    children: list[Node] = []
    if isinstance(node, SequenceNode):
        children = node.value
    elif isinstance(node, MappingNode):
        children = [part for pair in node.value for part in pair]
    total = 1 + sum(_count(child, sizes) for child in children)
    if total > MAX_NODES:
        raise _error(f"more than {MAX_NODES} values, aliases written out", node)
    sizes[id(node)] = total
    return total


def read(file: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys and values of a config file.

    Raises:
        SettingError: if it is no such file; one line with file, line and column.
    """
    text = _text(file)
    try:
        loader = CheckedLoader(text)
        try:
            node = loader.get_single_node()
            if isinstance(node, MappingNode):
                _check_names(node)
            found = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or "no YAML"
        if problem.startswith("but "):
            problem = f"{error.context} {problem}"
        if "could not determine a constructor" in problem:
            problem += "; write plain values, without tags"
        raise _wrong(file, problem, error.problem_mark or error.context_mark) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingError(
            "config_files", f"names {file}, line {line}: character {error.character!r} is not allowed in YAML"
        ) from None
    except yaml.YAMLError as error:
        raise _wrong(file, str(error), None) from None
    if found is None and text.strip():
        return {}  # comments only
    if not isinstance(found, dict):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise SettingError(
            "config_files", f"names {file}, which holds no YAML keys but {kind}; write lines such as epochs: 10"
        )
    return found


def _check_names(node: MappingNode) -> None:
    for key, _ in node.value:
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            what = shown(key.value) if isinstance(key, ScalarNode) else "a list or mapping"
            raise _error(f"the name of an option must be a word, got {what}; put it in quotes", key)


def _text(file: str | os.PathLike[str]) -> str:
    path = Path(file)
    if path.is_dir():
        raise SettingError("config_files", f"names {file}, which is no file but a folder")
    if not path.is_file():
        raise SettingError("config_files", f"names {file}, which is no file")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingError("config_files", f"names {file}, which cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SettingError("config_files", f"names {file}, which has more than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise SettingError(
            "config_files",
            f"names {file}, line {line}, byte {column}: {data[error.start]:#04x} is no UTF-8; save it as UTF-8",
        ) from None


def _wrong(file: str | os.PathLike[str], problem: str, mark: Any) -> SettingError:
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    problem = " ".join(problem.split())
    return SettingError("config_files", f"names {file}{where}: {problem[:200]}")


def _error(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)
