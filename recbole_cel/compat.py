"""What RecBole 1.2.1 uses and today's libraries no longer have: names of NumPy, a method of SciPy, and ray.

``install`` puts a finder in front of Python's own. It does nothing until RecBole is imported, whoever imports it,
and supplies what is missing then. So users of the core alone, who may have no RecBole, notice nothing.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from logging import getLogger
from types import ModuleType
from typing import Any

MISSING_RECBOLE = (
    "recbole_cel needs RecBole: python -m pip install --no-deps recbole==1.2.1 "
    "(with --no-deps, because RecBole asks for a ray that has no build for Python 3.12 and later)"
)
MISSING_RAY = "RecBole's tuning through ray needs ray: python -m pip install 'ray[tune]'"

# RecBole's Config makes np.float of np.float_ and so on; NumPy 2 removed np.float_, np.complex_ and np.unicode_.
# The others, removed by NumPy 1.24, are used by RecBole's data and metrics, and there may be no Config yet: they
# get the meanings that Config gives them.
NUMPY_NAMES = {
    "float_": "float64",
    "complex_": "complex128",
    "unicode_": "str_",
    "bool": "bool_",
    "float": "float64",
    "long": "int_",
    "str": "str_",
}
# The one module of RecBole that imports ray.
RAY_USER = "recbole.quick_start.quick_start"


class RayTune:
    """What RecBole has of ``ray.tune``: the module itself where it can be imported, else the word what to install.

    Args:
        tune: the module ``ray.tune``.
        reason: why there is none.
    """

    def __init__(self, tune: Any = None, reason: Exception | None = None) -> None:
        self._tune = tune
        self._message = f"{MISSING_RAY} ({' '.join(str(reason).split())})"

    def report(self, **metrics: Any) -> None:
        """Report the metrics of a trial."""
        if self._tune is None:
            # No error: RecBole reports from trials of hyperopt too, which need no ray.
            getLogger().warning(self._message)
        elif any(one.kind is one.VAR_KEYWORD for one in inspect.signature(self._tune.report).parameters.values()):
            self._tune.report(**metrics)
        else:
            # Newer rays take one dictionary where RecBole gives keywords.
            self._tune.report(metrics)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._tune is None:
            raise ImportError(self._message, name="ray")
        return getattr(self._tune, name)


class RecBoleFinder(MetaPathFinder):
    """Finds RecBole as Python does, but supplies what it needs first, or says how to install it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of RecBole, or of its module that imports ray; None for all others.

        Raises:
            ModuleNotFoundError: if RecBole is not installed.
        """
        if fullname not in ("recbole", RAY_USER):
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, RecBoleFinder))
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((one for one in found if one is not None), None)
        if fullname == "recbole":
            if spec is None:
                raise ModuleNotFoundError(MISSING_RECBOLE, name="recbole")
            supply()
        elif spec is not None:
            _run_without_ray(spec)
        return spec


def install() -> None:
    """Let RecBole find what it needs from now on; a second call changes nothing."""
    if not any(isinstance(finder, RecBoleFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, RecBoleFinder())
    if "recbole" in sys.modules:
        supply()


def supply() -> None:
    """Supply the names of NumPy and the method of SciPy that RecBole uses, where they are missing."""
    import numpy as np
    from scipy.sparse import dok_matrix

    for name, meaning in NUMPY_NAMES.items():
        if name not in vars(np):  # hasattr would warn
            setattr(np, name, getattr(np, meaning))
    # RecBole's graph models (LightGCN, NGCF, ...) fill their adjacency matrix with it; SciPy 1.13 removed it.
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)


def _run_without_ray(spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    run = loader.exec_module

    def exec_module(module: Any) -> None:
        with _importable_tune() as tune:
            run(module)
        module.tune = tune

    loader.exec_module = exec_module


@contextmanager
def _importable_tune() -> Iterator[RayTune]:
    """Let ``from ray import tune`` pass; a stand-in is gone afterwards, as others ask whether there is a ray."""
    try:
        tune = importlib.import_module("ray.tune")
    except Exception as error:  # Also one of another Python's time: no pkg_resources, no np.bool8, ...
        reason = error
    else:
        yield RayTune(tune)
        return
    kept = sys.modules.get("ray")
    stand_in: Any = ModuleType("ray")
    stand_in.__spec__ = ModuleSpec("ray", None)
    stand_in.tune = RayTune(reason=reason)
    sys.modules["ray"] = stand_in
    try:
        yield stand_in.tune
    finally:
        del sys.modules["ray"]
        if kept is not None:
            sys.modules["ray"] = kept
