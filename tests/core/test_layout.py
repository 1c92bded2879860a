"""Imports point one way, files are short, and the core knows nothing of RecBole."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "recbole_cel"
# Each imports from those before it only.
ORDER = [
    "compat",
    "options",
    "embedding",
    "evidence",
    "clustering",
    "settings",
    "strategies",
    "inject",
    "model",
    "metrics",
    "processes",
    "inputs",
    "config",
    "data",
    "runs",
    "convert",
    "trainer",
    "quick_start",
    "__main__",
    "experiments",
    "tables",
]
CORE = ("options", "embedding", "evidence", "clustering", "settings", "strategies")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(module):
    return module.split(".")[0]


def imported(path):
    """Modules that a file imports: within the package as seen from its top, others with all their names."""
    own = [*path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = own[: len(own) - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (("own", ".".join([*base, name])) for name in names)
        elif isinstance(node, ast.ImportFrom):
            yield "other", node.module
        elif isinstance(node, ast.Import):
            yield from (("other", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way_and_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 300
    part = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for whose, module in imported(path):
        if whose == "own" and part_of(module) != "__version__":
            assert ORDER.index(part_of(module)) <= ORDER.index(part), module
        if part in CORE:
            assert part_of(module) != "recbole", module


def test_the_core_is_imported_without_recbole():
    """Checked in a process of its own: the other tests have RecBole loaded already."""
    code = (
        f"import sys, {', '.join(f'recbole_cel.{part}' for part in CORE)}\n"
        "print([name for name in sys.modules if name == 'recbole' or name.startswith('recbole.')])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
