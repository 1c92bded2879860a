"""Test metrics of several models over several seeds, paired by seed with the first model.

    python benchmarks/accuracy.py --models FM FM_CEL FM_ModuloHash --seeds 2020 2021 2022

Any further ``--key=value`` goes to every run. ``--best KEY V1 V2 ...`` picks, for each model, the value of one
option with the best mean validation score.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from typing import Any

from tabulate import tabulate

from recbole_cel.config import literal
from recbole_cel.quick_start import run_recbole_cel


def mean_and_spread(values: list[float]) -> str:
    """Mean, and standard deviation if there are several values."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["FM", "FM_CEL", "FM_ModuloHash"])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--best", nargs="+", default=None, metavar=("KEY", "VALUE"))
    args, others = parser.parse_known_args()
    overrides: dict[str, Any] = {}
    for other in others:
        key, _, value = other.lstrip("-").partition("=")
        overrides[key] = literal(value)
    sys.argv = sys.argv[:1]
    key, values = (args.best[0], [literal(v) for v in args.best[1:]]) if args.best else (None, [None])

    table, first_auc = [], None
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            tried = []
            for value in values:
                options = {**overrides, "show_progress": False, "state": "ERROR", "checkpoint_dir": folder}
                options["cel_checkpoint_interval"] = 0
                if key:
                    options[key] = value
                runs = [
                    run_recbole_cel(model, args.dataset, config_dict={**options, "seed": seed})
                    for seed in args.seeds
                ]
                tried.append((statistics.mean(run["best_valid_score"] for run in runs), value, runs))
                print(f"{model} {key}={value}: validation {tried[-1][0]:.4f}", file=sys.stderr)
            sign = 1 if tried[0][2][0]["valid_score_bigger"] else -1
            valid, value, runs = max(tried, key=lambda one: sign * one[0])
            auc = [run["test_result"]["auc"] for run in runs]
            first_auc = first_auc or auc
            table.append(
                [
                    model,
                    value,
                    f"{valid:.4f}",
                    " ".join(f"{one:.4f}" for one in auc),
                    mean_and_spread(auc),
                    mean_and_spread([a - b for a, b in zip(auc, first_auc)]),
                    mean_and_spread([run["test_result"]["logloss"] for run in runs]),
                ]
            )
    headers = ["model", key or "-", "valid AUC", "test AUC", "mean", f"minus {args.models[0]}", "LogLoss"]
    print(tabulate(table, headers=headers, floatfmt=""))


if __name__ == "__main__":
    main()
