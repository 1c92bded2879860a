"""Peak memory of building a model for a made-up schema, above that of a process that only imported its modules.

python benchmarks/memory.py --users 10000000 --items 1000000 --dim 16 --models DeepFM_CEL DeepFM
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence

import torch
from recbole.utils import FeatureType
from tabulate import tabulate

from recbole_cel.config import Config
from recbole_cel.model import get_model


class Schema:
    """As much of a data set as a model's constructor looks at: two id fields, and one rating at most."""

    def __init__(self, users: int, items: int) -> None:
        self._sizes = {"user_id": users, "item_id": items, "label": 1}
        self.field2type = {
            "user_id": FeatureType.TOKEN,
            "item_id": FeatureType.TOKEN,
            "label": FeatureType.FLOAT,
        }
        self.inter_feat = {"rating": torch.ones(1)}

    def __len__(self) -> int:
        return 0

    def fields(self, ftype: Sequence[FeatureType] | None = None, source: object = None) -> list[str]:
        """Names of the fields, of the given types."""
        return [name for name, kind in self.field2type.items() if ftype is None or kind in ftype]

    def num(self, field: str) -> int:
        """Number of ids."""
        return self._sizes[field]


def peak() -> float:
    """Highest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(model: str, users: int, items: int, dim: int) -> float:
    """Build a model; returns by how many MB the peak rose."""
    config = Config(model, "ml-100k", config_dict={"embedding_size": dim}, command_line=False)
    model_class = get_model(config["model"])
    before = peak()
    model_class(config, Schema(users, items))
    return peak() - before


def main() -> None:
    """Measure each model in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["DeepFM_CEL", "DeepFM"])
    parser.add_argument("--users", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.single:
        print(json.dumps(build(args.models[0], args.users, args.items, args.dim)))
        return
    found = {}
    for model in args.models:
        sizes = ["--users", str(args.users), "--items", str(args.items), "--dim", str(args.dim)]
        command = [sys.executable, __file__, "--single", "--models", model, *sizes]
        # The first run on a fresh machine compiles modules as well.
        outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)]
        found[model] = min(float(output.strip().splitlines()[-1]) for output in outputs)
    if args.json:
        print(json.dumps(found))
        return
    print(f"{args.users} users, {args.items} items, d = {args.dim}")
    print(
        tabulate([(model, f"{size:.0f}") for model, size in found.items()], headers=["model", "MB above imports"])
    )


if __name__ == "__main__":
    main()
