"""The figures of the first page, from ``results/*.csv``: who is best, and who is best within so many bytes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "README.md"
START, END = "<!-- {table}: written by docs/generate.py -->\n", "<!-- end -->\n"
Line = dict[str, str]


def page() -> str:
    """The first page with its blocks of figures."""
    text = PAGE.read_text(encoding="utf-8")
    for table, block in BLOCKS.items():
        before, _, rest = text.partition(START.format(table=table))
        _, _, after = rest.partition(END)
        text = f"{before}{START.format(table=table)}{block(_runs(table))}{END}{after}"
    return text


def against_baselines(runs: list[Line]) -> str:
    """A line for each data set: the defaults, and what is there without clusters."""
    lines = [
        "| | biases alone | the best without clusters | FM | FM_CEL | DeepFM | DeepFM_CEL | bytes of FM_CEL |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset, of_data in _by_data(runs):
        of_row = {line["row"]: line for line in of_data}
        best = max((line for line in of_data if line["strategy"] != "cel"), key=_auc)
        columns = [of_row[row] for row in ("FM, full", "FM, CEL", "DeepFM, full", "DeepFM, CEL")]
        figures = [f"**{_auc(line):.4f}**" if _auc(line) > _auc(best) else f"{_auc(line):.4f}" for line in columns]
        ours = of_row["FM, CEL"]
        smaller = (float(ours[f"full {kind}"]) / float(ours[kind]) for kind in ("serving", "training"))
        size = " and ".join(f"1/{factor:.1f}" for factor in smaller)
        biases = f"{_auc(of_row['biases (LR)']):.4f}"
        cells = [dataset, biases, f"{_auc(best):.4f} ({best['row']})", *figures, size]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def within_bytes(runs: list[Line]) -> str:
    """A line for each budget of each model and data set."""
    lines = [
        "| tables of users and items, at most | CEL | the best of all others within that | biases alone | full |",
        "| --- | --- | --- | --- | --- |",
    ]
    for _, of_data in _by_data(runs):
        biases = next(line for line in of_data if line["model"] == "LR")
        for ours in (line for line in of_data if line["strategy"] == "cel"):
            rivals = [line for line in of_data if line["model"] in (ours["model"], "LR")]
            lines.append(_line(ours, [line for line in rivals if line["strategy"] != "cel"], biases))
    return "\n".join(lines) + "\n"


BLOCKS = {"cold": against_baselines, "compression": within_bytes}


def _runs(table: str) -> list[Line]:
    with (ROOT / "results" / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
        column = "all" if table == "cold" else "AUC"
        return [line | {"AUC": line[column]} for line in csv.DictReader(stream) if line[column]]


def _by_data(runs: list[Line]) -> list[tuple[str, list[Line]]]:
    names = dict.fromkeys(line["dataset"] for line in runs)
    return [(name, [line for line in runs if line["dataset"] == name]) for name in names]


def _auc(line: Line) -> float:
    return float(line["AUC"])


def _line(ours: Line, rivals: list[Line], biases: Line) -> str:
    budget = json.loads(ours["options"])["embedding_budget"]
    factor, kind = budget.split()
    allowed = float(ours[f"full {kind}"]) / float(factor.rstrip("x"))
    full = next(line for line in rivals if (line["model"], line["options"]) == (ours["model"], "{}"))
    fitting = [line for line in rivals if float(line[kind]) <= allowed]
    best = max(fitting, key=_auc)
    first, second = (f"{_auc(line):.4f}" for line in (ours, best))
    first, second = (f"**{first}**", second) if _auc(ours) > _auc(best) else (first, f"**{second}**")
    name = re.sub(r", \d+x \w+$", "", best["row"]).replace("_", " ")
    what = (
        f"{ours['model']}, {ours['dataset']}: 1/{factor.rstrip('x')} of full in {kind} ({allowed / 1000:.1f} kB)"
    )
    others = " | ".join(f"{_auc(line):.4f}" for line in (biases, full))
    return f"| {what} | {first} | {second} ({name}) | {others} |"
