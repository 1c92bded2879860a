"""Draws ``docs/scale.svg`` from ``benchmarks/results/scale.jsonl``: ``python docs/scale_picture.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from recbole_cel.tables.picture import DASHES, MARKERS, STRONG

Run = dict[str, Any]
FOLDER = Path(__file__).resolve().parent
LINES = FOLDER.parent / "benchmarks" / "results" / "scale.jsonl"
LABELS = {
    "full": "full tables",
    "hash": "hashed",
    "paper": "the paper's clusters",
    "cel": "CEL, the default",
    "cel, once an epoch": "CEL, grown once an epoch",
}


def step(run: Run) -> float:
    """Milliseconds of a training step without events."""
    return 1e3 * float(sum(run["training"])) / (run["epochs"] * run["steps"])


def whole(run: Run) -> float:
    """Microseconds of an interaction, events included."""
    return 1e6 * float(sum(run["training"]) + sum(run["work"])) / (run["epochs"] * run["interactions"])


def memory(run: Run) -> float:
    """Gigabytes above the data."""
    return float(run["memory"]) / 1e9


PANELS: dict[str, Callable[[Run], float]] = {
    "a step of 4,096, ms": step,
    "an interaction, events included, µs": whole,
    "memory above the data, GB": memory,
}


def main() -> None:
    """Draw runs of up to three epochs on a CPU with ten interactions an id, the latest where there are several."""
    runs = [json.loads(line) for line in LINES.read_text().splitlines()]
    latest = {
        (run["method"], run["ids"]): run
        for run in runs
        if run.get("device", "cpu") == "cpu"
        and run["dim"] == 16
        and run["interactions"] == 10 * run["ids"]
        and run["epochs"] <= 3
    }
    plt.rcParams["svg.hashsalt"] = "scale"
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.6), layout="constrained")
    for axis, (label, value) in zip(axes, PANELS.items()):
        for place, (method, name) in enumerate(LABELS.items()):
            found = sorted((ids, value(run)) for (of, ids), run in latest.items() if of == method)
            if found:
                style = {
                    "color": STRONG[place],
                    "marker": MARKERS[place],
                    "linestyle": DASHES[place % len(DASHES)],
                }
                axis.loglog(*zip(*found), label=name, **style)
        axis.set_xlabel("ids of each of the two fields")
        axis.set_title(label, fontsize=10)
        axis.grid(alpha=0.3, which="both")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(LABELS), frameon=False
    )
    figure.savefig(FOLDER / "scale.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
