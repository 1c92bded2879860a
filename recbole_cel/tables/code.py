"""What of the package a run depends on: the modules that it imports, and our property files.

The numbers of a run are kept until something changes that could change them. A new strategy, or another one's
code, can not, nor can the way in which a table is printed.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..config import TABLES, properties_folder
from ..model import split_name
from ..strategies import strategies

PACKAGE = Path(__file__).resolve().parents[1]
# What runs a job; everything else that counts is imported by these, directly or not.
START = ("tables.job", "tables.measure", "tables.solvers")
# Imports all strategies, of which a run has one.
REGISTRY = "strategies"


@cache
def digest(strategy: str | None) -> str:
    """A digest of all code and property files that a run with ``strategy`` (or none) depends on."""
    found = hashlib.sha256()
    # What merely lists the strategies changes with every new one.
    files = {PACKAGE / "__init__.py", *(_file(module) for module in modules(strategy) - {REGISTRY})}
    for file in sorted(files):
        found.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    if strategy is not None:
        kind = strategies()[strategy]
        if not kind.__module__.startswith(f"{PACKAGE.name}."):
            found.update(f"{kind.__module__}.{kind.__qualname__}\0".encode())
            for file in _files_of_others(kind.__module__):
                found.update(file.read_bytes() + b"\0")
    for file in sorted(properties_folder().rglob("*.yaml")):
        name = file.relative_to(properties_folder())
        if _counts(name, strategy):
            found.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


def _files_of_others(module: str) -> list[Path]:
    """The source of a strategy that is not ours: of the package that it lies in, or its own."""
    top = sys.modules[module.partition(".")[0]]
    if paths := getattr(top, "__path__", None):
        return sorted(file for path in paths for file in Path(path).rglob("*.py"))
    file = getattr(sys.modules[module], "__file__", None)
    return [Path(file)] if file else []


def _counts(file: Path, strategy: str | None) -> bool:
    """Whether a property file, by its path in that folder, can be read by a run with ``strategy``."""
    folder = file.parts[0]
    if folder == "embedding":
        return file.stem == strategy
    if folder == "model":
        of_model = split_name(file.stem)[1]
        return of_model is None or of_model.name == strategy
    return folder != TABLES and (folder == strategy or folder not in strategies())


def modules(strategy: str | None) -> set[str]:
    """The modules of the package, from its top, that a run with ``strategy`` (or none) depends on."""
    others = {
        kind.__module__.partition(".")[2]
        for name, kind in strategies().items()
        if name != strategy and kind.__module__.startswith(f"{PACKAGE.name}.")
    }
    if strategy is not None:
        own = strategies()[strategy].__module__
        others.discard(own.partition(".")[2])
    waiting, found = [*START], set[str]()
    if strategy is not None and own.startswith(f"{PACKAGE.name}."):
        waiting.append(own.partition(".")[2])
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        # A strategy of another name counts where it is built upon, not where it is merely registered.
        waiting += [one for one in _imports(module) if not (module == REGISTRY and one in others)]
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(_imported(module))


def _imported(module: str) -> Iterator[str]:
    file = _file(module)
    own = [*module.split(".")] if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = own[: len(own) - node.level + 1]
        target = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
        for alias in node.names:
            yield from _sources(target, alias.name)


def _sources(module: str, name: str) -> Iterator[str]:
    """Where ``name`` of ``module`` comes from: through a package that only hands it on, its module itself."""
    inner = f"{module}.{name}" if module else name
    if _is_module(inner):
        yield inner
    elif module and _file(module).name == "__init__.py":
        yield from _handed_on(module).get(name, ()) or (module,)
        if module == REGISTRY:
            yield module
    elif module:
        yield module


@cache
def _handed_on(package: str) -> dict[str, tuple[str, ...]]:
    """For each name that a package imports from its modules, which these are."""
    found = {}
    for node in ast.parse(_file(package).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = tuple(_sources(f"{package}.{node.module}", alias.name))
    return found


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_module(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
