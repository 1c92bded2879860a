"""The figures of the first page, from ``results/compression.csv``: who is best within so many bytes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "README.md"
DATA = ROOT / "results" / "compression.csv"
START, END = "<!-- compression: written by docs/generate.py -->\n", "<!-- end -->\n"
Line = dict[str, str]


def page() -> str:
    """The first page with its block of figures."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{block()}{END}{after}"


def block() -> str:
    """A line for each budget of each model and data set."""
    with DATA.open(encoding="utf-8", newline="") as stream:
        runs = [line for line in csv.DictReader(stream) if line["AUC"]]
    lines = [
        "| tables of users and items, at most | CEL | the best of all others within that | biases alone | full |",
        "| --- | --- | --- | --- | --- |",
    ]
    for dataset in dict.fromkeys(line["dataset"] for line in runs):
        of_data = [line for line in runs if line["dataset"] == dataset]
        biases = next(line for line in of_data if line["model"] == "LR")
        for ours in (line for line in of_data if line["strategy"] == "cel"):
            rivals = [line for line in of_data if line["model"] in (ours["model"], "LR")]
            lines.append(_line(ours, [line for line in rivals if line["strategy"] != "cel"], biases))
    return "\n".join(lines) + "\n"


def _line(ours: Line, rivals: list[Line], biases: Line) -> str:
    budget = json.loads(ours["options"])["embedding_budget"]
    factor, kind = budget.split()
    allowed = float(ours[f"full {kind}"]) / float(factor.rstrip("x"))
    full = next(line for line in rivals if (line["model"], line["options"]) == (ours["model"], "{}"))
    fitting = [line for line in rivals if float(line[kind]) <= allowed]
    best = max(fitting, key=lambda line: float(line["AUC"]))
    first, second = (f"{float(line['AUC']):.4f}" for line in (ours, best))
    first, second = (
        (f"**{first}**", second) if float(ours["AUC"]) > float(best["AUC"]) else (first, f"**{second}**")
    )
    name = re.sub(r", \d+x \w+$", "", best["row"]).replace("_", " ")
    what = (
        f"{ours['model']}, {ours['dataset']}: 1/{factor.rstrip('x')} of full in {kind} ({allowed / 1000:.1f} kB)"
    )
    others = " | ".join(f"{float(line['AUC']):.4f}" for line in (biases, full))
    return f"| {what} | {first} | {second} ({name}) | {others} |"
