"""Planted pairs as RecBole atomic files, and options for short runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_cel.experiments.pairs import Pairs


def write_pairs(folder: Path, name: str, pairs: Pairs, target: str = "label") -> dict[str, Any]:
    """Write data set ``name`` under ``folder``; returns options that load it."""
    fields = ["context", "user_id", "item_id"][-len(pairs.ids) :]
    lines = ["\t".join([*(f"{field}:token" for field in fields), f"{target}:float"])]
    for *ids, value in zip(*(ids.tolist() for ids in pairs.ids), pairs.targets.tolist()):
        lines.append("\t".join([*map(str, ids), f"{value:g}"]))
    (folder / name).mkdir(parents=True)
    (folder / name / f"{name}.inter").write_text("\n".join(lines) + "\n")
    return {
        "data_path": str(folder),
        "load_col": {"inter": [*fields, target]},
        "threshold": None,
        "show_progress": False,
        "state": "WARNING",
        "train_batch_size": 512,
    }
