"""Every context-aware model with clustered embeddings, to the end: does it train, and how well?

    python benchmarks/context_models.py --seeds 2020 2021 2022
    python benchmarks/context_models.py --scale 1000 --epochs=2

``--scale`` gives items a raw float feature of that size. Any further ``--key=value`` goes to every run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import recbole
from tabulate import tabulate

from recbole_cel.config import Config
from recbole_cel.inputs.plain import literal
from recbole_cel.options import SettingError
from recbole_cel.tables.measure import measure

MODELS = [
    *("AFM", "AutoInt", "DCN", "DCNV2", "DeepFM", "DIN", "DIEN", "DSSM", "EulerNet", "FFM", "FiGNN", "FM", "FNN"),
    *("FwFM", "KD_DAGFM", "LR", "NFM", "PNN", "WideDeep", "xDeepFM"),
]


def with_feature(folder: Path, scale: float) -> dict[str, Any]:
    """A copy of ml-100k whose items have a float feature up to ``scale``, and the options that load it."""
    source = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    (folder / "ml-100k-scaled").mkdir()
    for suffix in ("inter", "user", "item"):
        frame = pd.read_csv(source / f"ml-100k.{suffix}", sep="\t", dtype=str)
        if suffix == "item":
            frame["size:float"] = [f"{scale * (1 + number % 7) / 7}" for number in range(len(frame))]
        frame.to_csv(folder / "ml-100k-scaled" / f"ml-100k-scaled.{suffix}", sep="\t", index=False)
    load = {"inter": ["user_id", "item_id", "rating"], "item": ["item_id", "size"]}
    return {
        "data_path": str(folder),
        "load_col": load,
        "numerical_features": ["size"],
        "threshold": {"rating": 4},
        "normalize_all": False,
    }


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--suffix", default="_CEL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020])
    parser.add_argument("--scale", type=float)
    args, others = parser.parse_known_args()
    sys.argv = sys.argv[:1]
    options = {key: literal(value) for key, _, value in (pair.lstrip("-").partition("=") for pair in others)}
    options |= {"show_progress": False, "state": "ERROR", "cel_checkpoint_interval": 0}
    rows = list[list[Any]]()
    with tempfile.TemporaryDirectory() as folder:
        dataset = "ml-100k"
        if args.scale:
            options |= with_feature(Path(folder), args.scale)
            dataset = "ml-100k-scaled"
        for model in args.models:
            for seed in args.seeds:
                started = time.perf_counter()
                own = {**options, "seed": seed, "checkpoint_dir": folder}
                try:
                    Config(model + args.suffix, dataset, config_dict=dict(own), command_line=False)
                    found = measure(model + args.suffix, dataset, [], own, [])
                    outcome = f"{found.test['auc']:.4f}"
                except SettingError as error:
                    outcome = str(error)[:110]
                except Exception as error:
                    outcome = f"{type(error).__name__}: {str(error)[:90]}"
                rows.append([model + args.suffix, seed, outcome, f"{time.perf_counter() - started:.0f}"])
                print("\t".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    print(tabulate(rows, headers=["model", "seed", "test AUC, or how it ended", "seconds"], disable_numparse=True))


if __name__ == "__main__":
    main()
