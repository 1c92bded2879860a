"""Rating prediction: clustered factorisations against full ones, biases alone and a library's factorisation.

    python -m pip install -e '.[benchmark]'
    python benchmarks/ratings.py --dataset ml-1m --data_path FOLDER

Every line is trained with each weight decay of ``--decays`` (each strength for the library) on each seed; the one
with the best mean validation RMSE (of the first seed, with ``--choose-on-first``) is tested. The seed also changes
the split. Further ``--key=value`` go to every run and win over its line's options; ``--only`` picks lines.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
from tabulate import tabulate

from recbole_cel.config import literal
from recbole_cel.quick_start import run_recbole_cel
from recbole_cel.tables.solvers import solve, split

STRENGTHS = [5.0, 10.0, 20.0, 40.0, 80.0]
Scores = tuple[float, float]
"""RMSE on validation and on test."""


def model_lines() -> dict[str, tuple[str, dict[str, Any]]]:
    """Model and options of each line that RecBole trains."""
    lines: dict[str, tuple[str, dict[str, Any]]] = {"MF": ("MF", {}), "NMF": ("NMF", {})}
    for base in ("MF", "NMF"):
        for share in (5, 1, 0.5):
            lines[f"{base}_CEL {share} %"] = (f"{base}_CEL", {"cel_compression_ratio": 100 / share})
    # Own rows on 2 % of shared ones, which are themselves pulled to their mean: they have many members, and weight
    # decay, which knows of no members, would hardly hold them.
    own = {
        "cel_personalisation": True,
        "cel_personalisation_start": 3,
        "cel_personalisation_lambda": 0.0,
        "cel_compression_ratio": 50,
        "cel_super_clusters": 1,
        "cel_super_cluster_weight": 1000.0,
        "cel_levels": 1,
        "cel_folds": 1,
        "cel_split_gain": 0.0,
        "cel_reassign_interval": 1,
    }
    lines["MF_CEL own rows"] = ("MF_CEL", own)
    return lines


def trained(model: str, options: dict[str, Any], dataset: str) -> Scores:
    """Train and test one model."""
    result = run_recbole_cel(model, dataset, config_dict=options)
    return result["best_valid_score"], result["test_result"]["rmse"]


def solved(solver: str, parts: list[pd.DataFrame], strength: float) -> Scores:
    """Fit and test one baseline that no gradient trains."""
    found = solve(solver, parts, strength)
    return found.valid["rmse"], found.test["rmse"]


def best_line(
    name: str, values: list[float], seeds: list[int], choosing: list[int], score: Callable[[int, float], Scores]
) -> list[str]:
    """A line of the table: the value with the best mean validation score on ``choosing``, with all its scores."""
    found: dict[tuple[float, int], Scores] = {}
    tried = []
    for value in values:
        started = time.perf_counter()
        for seed in choosing:
            found[value, seed] = score(seed, value)
        seconds = (time.perf_counter() - started) / len(choosing)
        valid = statistics.mean(found[value, seed][0] for seed in choosing)
        tried.append((valid, value, seconds))
        print(f"{name} {value:g}: validation {valid:.4f}, {seconds:.0f} s", file=sys.stderr, flush=True)
    _, value, seconds = min(tried)
    scores = [found.get((value, seed)) or score(seed, value) for seed in seeds]
    valid, tests = statistics.mean(one for one, _ in scores), [test for _, test in scores]
    spread = f" ± {statistics.stdev(tests):.4f}" if len(tests) > 1 else ""
    every = " ".join(f"{test:.4f}" for test in tests)
    return [name, f"{value:g}", f"{valid:.4f}", every, f"{statistics.mean(tests):.4f}{spread}", f"{seconds:.0f}"]


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--decays", nargs="+", type=float, default=[1e-5, 1e-4, 1e-3])
    parser.add_argument("--choose-on-first", action="store_true")
    parser.add_argument("--only", nargs="+", default=None, metavar="LINE")
    args, others = parser.parse_known_args()
    overrides: dict[str, Any] = {}
    for other in others:
        key, _, value = other.lstrip("-").partition("=")
        overrides[key] = literal(value)
    sys.argv = sys.argv[:1]
    choosing = args.seeds[:1] if args.choose_on_first else args.seeds
    lines = model_lines()
    names = args.only or ["biases", "cmfrec", *lines]
    unknown = [name for name in names if name not in {"biases", "cmfrec", *lines}]
    if unknown:
        parser.error(f"--only: {unknown[0]!r} is none of biases, cmfrec, {', '.join(lines)}")
    table = []
    with tempfile.TemporaryDirectory() as folder:
        common = {"data_path": args.data_path, "checkpoint_dir": folder, "show_progress": False, "state": "ERROR"}
        common |= {
            "load_col": {"inter": ["user_id", "item_id", "rating"]},
            "cel_checkpoint_interval": 0,
            **overrides,
        }
        for name in names:
            if name in lines:
                model, options = lines[name]

                def score(
                    seed: int, decay: float, model: str = model, options: dict[str, Any] = options
                ) -> Scores:
                    given = {**common, **options, **overrides, "seed": seed, "weight_decay": decay}
                    return trained(model, given, args.dataset)

                table.append(best_line(name, args.decays, args.seeds, choosing, score))
            else:
                solver = {"biases": "biases", "cmfrec": "als"}[name]
                splits = {seed: split({**common, "seed": seed}, args.dataset) for seed in args.seeds}

                def fitted(seed: int, strength: float, solver: str = solver, splits: Any = splits) -> Scores:
                    return solved(solver, splits[seed], strength)

                table.append(best_line(name, STRENGTHS, args.seeds, choosing, fitted))
    headers = ["line", "decay", "valid RMSE", "test RMSE", "mean", "s a run"]
    print(tabulate(table, headers=headers, floatfmt="", disable_numparse=True))
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
