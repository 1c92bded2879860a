"""AUC against bytes in serving, from ``benchmarks/results/bytes.jsonl``: ``python docs/bytes_plot.py``."""

from __future__ import annotations

import hashlib
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
DATA = FOLDER.parent / "benchmarks" / "results" / "bytes.jsonl"
PICTURE = FOLDER / "bytes.svg"
# Colours that colour-blind readers tell apart, and markers for print.
LINES = {
    "FM_CEL": ("FM_CEL, defaults", "#0072b2", "o"),
    "FM_Full": ("FM, rows of 1 to 16 numbers, tuned", "#d55e00", "s"),
    "FM_ModuloHash": ("FM, rows shared by id modulo a number, tuned", "#009e73", "^"),
    "LR_Full": ("biases alone (LR), tuned", "#555555", "D"),
}
# LR makes rows of ten numbers beside its first-order weights, as all of RecBole's context-aware models do, and
# never looks them up.
UNUSED = {"LR_Full": 10 / 11}


class Point(NamedTuple):
    """Runs of one model and size.

    Attributes:
        serving: bytes.
        training: bytes.
        auc: mean over seeds.
        spread: standard deviation over seeds.
        options: those that are not the default.
        seeds: how many.
    """

    serving: int
    training: int
    auc: float
    spread: float
    options: str
    seeds: int


def points() -> dict[str, list[Point]]:
    """For each model, its sizes in order; of a grid, the options with the best mean validation AUC."""
    runs = [json.loads(line) for line in DATA.read_text().splitlines()]
    found: dict[str, list[Point]] = {}
    for model in LINES:
        sizes: dict[tuple[Any, ...], dict[tuple[Any, ...], list[dict[str, Any]]]] = {}
        for run in runs:
            if run["model"] == model:
                size = run.get("embedding_budget"), run.get("embedding_size")
                choice = run.get("weight_decay"), run.get("learning_rate")
                sizes.setdefault(size, {}).setdefault(choice, []).append(run)
        for size, grid in sizes.items():
            # A grid is tried on the first seed, and the best of it on the others as well.
            choice, best = max(
                grid.items(), key=lambda item: (len(item[1]), statistics.mean(r["valid"]["auc"] for r in item[1]))
            )
            aucs = [run["test"]["auc"] for run in best]
            names = ("budget", "size", "decay", "rate")
            options = ", ".join(
                f"{name} {value}" for name, value in zip(names, (*size, *choice)) if value is not None
            )
            spread = statistics.stdev(aucs) if len(aucs) > 1 else 0.0
            unused = round(UNUSED.get(model, 0) * best[0]["serving"])
            sizes_ = best[0]["serving"] - unused, best[0]["training"] - unused
            # Pythons differ in the last digits of a standard deviation.
            auc, spread = round(statistics.mean(aucs), 6), round(spread, 6)
            point = Point(*sizes_, auc, spread, options or "defaults", len(aucs))
            found.setdefault(model, []).append(point)
    return {model: sorted(of_model) for model, of_model in found.items()}


def table() -> list[str]:
    """The points as lines of Markdown."""
    lines = ["| model | options | kB in serving | kB in training | test AUC |", "| --- | --- | --- | --- | --- |"]
    for model, of_model in points().items():
        lines += [
            f"| {model} | {one.options} | {one.serving / 1e3:.1f} | {one.training / 1e3:.1f} | "
            f"{one.auc:.4f} ± {one.spread:.4f} |"
            for one in of_model
        ]
    return lines


def source() -> str:
    """What the picture is made from, for a check that needs no matplotlib."""
    return hashlib.sha256(repr(points()).encode() + Path(__file__).read_bytes()).hexdigest()


def is_up_to_date() -> bool:
    """Whether the picture was made from the present data by the present code."""
    return PICTURE.is_file() and source() in PICTURE.read_text()


def draw() -> None:
    """Draw the picture."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "recbole_cel", "svg.fonttype": "none", "font.size": 10})
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for model, of_model in points().items():
        label, colour, marker = LINES[model]
        axes.errorbar(
            [one.serving / 1e3 for one in of_model],
            [one.auc for one in of_model],
            yerr=[one.spread / one.seeds**0.5 for one in of_model],
            label=label, color=colour, marker=marker, markersize=6, linewidth=1.6, capsize=3,
        )  # fmt: skip
    axes.set_xscale("log")
    ticks = [6, 12, 25, 50, 100, 200]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_xlabel("kB of the tables of users and items in serving, codes included")
    axes.set_ylabel("test AUC, ml-100k")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(PICTURE, metadata={"Date": None, "Description": source()})


if __name__ == "__main__":
    draw()
