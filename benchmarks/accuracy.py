"""Test metrics of several models over several seeds, paired by seed with the first model.

    python benchmarks/accuracy.py --models FM FM_CEL FM_ModuloHash --seeds 2020 2021 2022

Any further ``--key=value`` goes to every run, and ``FM,weight_decay=1e-4`` in the place of ``FM`` to those of one
model. ``--best KEY V1 V2 ...``, once or several times, picks for each
model the values of one or several options with the best validation AUC, on the first seed only with
``--choose-on-first``; the test metrics of values that were not picked are shown nowhere.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_cel.config import Config, literal
from recbole_cel.tables.job import data_digest
from recbole_cel.tables.measure import Group, Measured, measure, program

# The limit of epochs in a line, which has the number of those that were trained as its epochs.
LIMIT = "max_epochs"
# Where files are is nobody else's business, and how a run is shown changes nothing.
PATHS = {"data_path", "checkpoint_dir", "show_progress", "state", "cel_checkpoint_interval"}


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation if there are several values."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def mean_and_error(values: Sequence[float]) -> str:
    """Mean, and its standard error if there are several values."""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.4f}{error}"


def cold_rows(model: str, runs: Sequence[Measured], first: Sequence[Measured]) -> list[list[str]]:
    """For one model, a row for each group of cold users or items; differences are paired by seed.

    Seeds in which a group's labels are all the same are left out."""
    rows = []
    for group in runs[0].cold:
        row = [model, group, f"{statistics.mean(run.cold[group].interactions for run in runs):.0f}"]
        for metric in runs[0].cold[group].metrics:
            pairs = [_both(run.cold[group], other.cold[group], metric) for run, other in zip(runs, first)]
            known = [pair for pair in pairs if pair is not None]
            if known:
                row.append(mean_and_spread([one for one, _ in known]))
                row.append(mean_and_error([one - other for one, other in known]))
        rows.append(row)
    return rows


def _both(one: Group, other: Group, metric: str) -> tuple[float, float] | None:
    found = one.metrics[metric], other.metrics[metric]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def as_line(run: Measured) -> dict[str, Any]:
    """What is kept of a run as data."""
    groups = {name: {"interactions": group.interactions, **group.metrics} for name, group in run.cold.items()}
    size = {"serving": None, "training": None} if run.size is None else run.size._asdict()
    return {
        **{"valid": run.valid, "test": run.test, "cold": groups, "ratio": run.ratio, "clusters": run.clusters},
        **{"seconds": run.seconds, "epochs": run.epochs},
        **{"serving": size["serving"], "training": size["training"]},
    }


def digest(model: str, dataset: str, files: Sequence[str], options: dict[str, Any]) -> str:
    """What tells the data's files from others of that name, such as another draw of negatives."""
    folder = Path(Config(model, dataset, list(files) or None, options, command_line=False)["data_path"]).parent
    return data_digest(str(folder), dataset)[:8]


def main() -> None:
    """Run everything and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["FM", "FM_CEL", "FM_ModuloHash"])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", help="folder that holds the data set's folder")
    parser.add_argument("--config_files", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--best", nargs="+", action="append", default=[], metavar=("KEY", "VALUE"))
    parser.add_argument("--choose-on-first", action="store_true")
    parser.add_argument("--cold", nargs="*", type=int, default=[5, 10, 20])
    parser.add_argument("--metric", default="auc", help="what chooses and is shown, such as ndcg@10")
    parser.add_argument("--json", help="file to which each run is added as a line")
    parser.add_argument("--protocol", help="what the runs are about, for the lines in --json")
    args, others = parser.parse_known_args()
    overrides: dict[str, Any] = {"show_progress": False, "state": "ERROR", "cel_checkpoint_interval": 0}
    if args.data_path:
        overrides["data_path"] = args.data_path
    overrides.update(_options(others))
    sys.argv = sys.argv[:1]
    keys = [key for key, *_ in args.best]
    grid = [dict(zip(keys, v)) for v in itertools.product(*([literal(v) for v in vs] for _, *vs in args.best))]

    def run(spec: str, choice: dict[str, Any], seed: int, folder: str) -> Measured:
        model, *own = spec.split(",")
        choice = {**_options(own), **choice}
        options = {**overrides, **choice, "seed": seed, "checkpoint_dir": folder}
        found = measure(model, args.dataset, args.config_files, options, args.cold)
        reached = f"validation {args.metric} {found.valid[args.metric]:.4f}"
        print(f"{model} {choice or ''} seed {seed}: {reached}", file=sys.stderr)
        if args.json:
            with open(args.json, "a") as file:
                line = {
                    "protocol": args.protocol,
                    "model": model,
                    "dataset": args.dataset,
                    "seed": seed,
                    **program(),
                    "data": digest(model, args.dataset, args.config_files, options),
                }
                given = {
                    LIMIT if key == "epochs" else key: value for key, value in {**overrides, **choice}.items()
                }
                line |= {key: value for key, value in given.items() if key not in PATHS}
                file.write(json.dumps({**line, **as_line(found)}) + "\n")
        return found

    table, cold, first = [], [], None
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            name, *own = model.split(",")
            choosing = args.seeds[:1] if args.choose_on_first else args.seeds
            tried = [[run(model, choice, seed, folder) for seed in choosing] for choice in grid]
            best = max(range(len(grid)), key=lambda n: statistics.mean(run.valid[args.metric] for run in tried[n]))
            runs = tried[best] + [run(model, grid[best], seed, folder) for seed in args.seeds[len(choosing) :]]
            first = first or runs
            reached, valid = (
                [part[args.metric] for part in parts] for parts in zip(*((r.test, r.valid) for r in runs))
            )
            others = [metric for metric in runs[0].test if metric != args.metric]
            table.append(
                [
                    name,
                    " ".join([*own, *(f"{key}={value}" for key, value in grid[best].items())]),
                    f"{runs[0].ratio:.1f}x",
                    f"{statistics.mean(valid):.4f}",
                    " ".join(f"{one:.4f}" for one in reached),
                    mean_and_spread(reached),
                    mean_and_spread([one - run.test[args.metric] for one, run in zip(reached, first)]),
                    *(mean_and_spread([run.test[metric] for run in runs]) for metric in others),
                    f"{statistics.mean(run.seconds for run in runs):.0f}",
                    " ".join(str(run.epochs) for run in runs),
                ]
            )
            cold += cold_rows(name, runs, first)
    minus = f"minus {args.models[0].split(',')[0]}"
    headers = ["model", "chosen", "smaller", f"valid {args.metric}", f"test {args.metric}", "mean", minus]
    print(tabulate(table, headers=[*headers, *others, "seconds", "epochs"], floatfmt=""))
    if not cold:
        return
    minus += ", ± its error"
    print("\nTest interactions of users and items by their training interactions")
    print(
        tabulate(
            cold,
            headers=[
                "model",
                "of",
                "number",
                *(name for metric in first[0].cold[cold[0][1]].metrics for name in (metric, minus)),
            ],
            floatfmt="",
        )
    )


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    split = (pair.lstrip("-").partition("=") for pair in pairs)
    return {key: literal(value) for key, _, value in split}


if __name__ == "__main__":
    main()
