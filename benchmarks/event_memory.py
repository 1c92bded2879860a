"""Peak memory of one event of the cross-fitted policy, above what the tables and the interactions take.

    python benchmarks/event_memory.py --ids 1000000 5000000 --interactions 1000000

Each number of ids runs in a process of its own. What the peaks differ by is what an id costs; the rest is
constant.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import torch
from tabulate import tabulate
from torch import Tensor, nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import AdditiveEmbedding, ClusteredEmbedding, shared_assignments
from recbole_cel.evidence import ModuleObjective

ITEMS = 100


class Product(nn.Module):
    """Inner products of rows of users and items."""

    def __init__(self, users: int, levels: int, folds: int, width: int) -> None:
        super().__init__()
        self.users, self.items = (self._table(number, levels, folds, width) for number in (users, ITEMS))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits."""
        return (self.users(users) * self.items(items)).sum(dim=-1)

    @staticmethod
    def _table(number: int, levels: int, folds: int, width: int) -> AdditiveEmbedding:
        assignments = shared_assignments(number, [16] * levels, [1] * levels, folds)
        return AdditiveEmbedding([ClusteredEmbedding(one, width, std=0.1) for one in assignments])


def peak() -> int:
    """Highest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def event_peak(users: int, interactions: int, levels: int, folds: int, width: int) -> int:
    """By how much the peak rises when the users grow for the first time."""
    torch.manual_seed(0)
    model = Product(users, levels, folds, width)
    ids = torch.randint(users, (interactions,)), torch.randint(ITEMS, (interactions,))
    labels = ((ids[0] + ids[1]) % 2).float()
    objective = ModuleObjective(model, ["user", "item"], list(ids), labels)
    fields = {"user": [model.users], "item": [model.items]}
    clusters = ClusterOptimiser(fields, objective, ClusterSettings(folds=folds), steps_per_epoch=10)
    clusters.split("item")
    clusters._index_of("user")
    before = peak()
    clusters.split("user")
    return peak() - before


def main() -> None:
    """Measure each number of ids in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", nargs="+", type=int, default=[1_000_000, 5_000_000])
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--levels", type=int, default=8)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print bytes an id and the constant, for a test")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(event_peak(args.ids[0], args.interactions, args.levels, args.folds, args.width))
        return
    shared = [f"--{name}={value}" for name, value in vars(args).items() if name not in ("ids", "json", "one")]
    found = []
    for number in args.ids:
        command = [sys.executable, __file__, "--one", f"--ids={number}", *shared]
        found.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    slope = (found[-1] - found[0]) / (args.ids[-1] - args.ids[0])
    constant = found[0] - slope * args.ids[0]
    if args.json:
        print(json.dumps({"bytes_an_id": slope, "constant": constant}))
        return
    print(
        tabulate(
            [[ids, f"{rise / 1e6:.0f} MB"] for ids, rise in zip(args.ids, found)], ["ids", "peak of an event"]
        )
    )
    print(f"{slope:.0f} bytes an id, beyond {constant / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
