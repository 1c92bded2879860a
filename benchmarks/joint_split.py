"""What a joint split costs, beside an epoch of training: factorisation machine, levels and folds by default.

    python benchmarks/joint_split.py --ids 1000000 --interactions 10000000

The epoch is extrapolated from ``--steps`` of its steps. Memory is the largest resident set during the split, less
the one before it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import AdditiveEmbedding, ClusteredEmbedding, shared_assignments
from recbole_cel.evidence import ModuleObjective
from recbole_cel.experiments.pairs import tastes

BATCH = 4096


class FactorisationMachine(nn.Module):
    """Inner product of the rows of two fields, and biases."""

    def __init__(self, ids: int, dim: int, levels: int, clusters: int, folds: int) -> None:
        super().__init__()
        self.rows, self.biases = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):
            shared = shared_assignments(ids, [clusters] * levels, [1] * levels, folds)
            for tables, width in ((self.rows, dim), (self.biases, 1)):
                tables.append(AdditiveEmbedding([ClusteredEmbedding(one, width) for one in shared]))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits ``(B,)``."""
        one, other = self.rows[0](left), self.rows[1](right)
        return (one * other).sum(dim=1) + self.biases[0](left).squeeze(1) + self.biases[1](right).squeeze(1)


def planted(ids: int, interactions: int, groups: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids of both fields and labels; pairs may repeat."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randint(0, ids, (interactions,), generator=generator) for _ in range(2))
    likes = tastes(groups)[left % groups, right % groups]
    return left, right, torch.bernoulli(torch.where(likes, 0.8, 0.2), generator=generator)


def resident(what: str) -> int:
    """Bytes of ``VmRSS`` or ``VmHWM`` of this process (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, default=1_000_000, help="of each of the two fields")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args(arguments)
    left, right, labels = planted(options.ids, options.interactions, 4, 0)
    settings = ClusterSettings()
    model = FactorisationMachine(options.ids, options.dim, settings.levels, 64, settings.folds)
    objective = ModuleObjective(model, ["left", "right"], [left, right], labels)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    fields = {name: [model.rows[n], model.biases[n]] for n, name in enumerate(("left", "right"))}
    clusters = ClusterOptimiser(fields, objective, settings, steps_per_epoch=options.interactions // BATCH)
    started = time.perf_counter()
    order = torch.randperm(options.interactions)
    for batch in order[: options.steps * BATCH].split(BATCH):
        optimiser.zero_grad()
        outputs = objective.training_outputs(left[batch], right[batch])
        nn.functional.binary_cross_entropy_with_logits(outputs, labels[batch]).backward()
        optimiser.step()
    epoch = (time.perf_counter() - started) * options.interactions / (options.steps * BATCH)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    (event,) = clusters.split_jointly()
    peak = resident("VmHWM") - before
    ratio = f"{event.seconds / epoch:.2f}"
    per = peak / options.interactions
    rows = [[options.ids, options.interactions, event.directions, epoch, event.seconds, ratio, peak / 1e9, per]]
    headers = ["ids a field", "interactions", "directions", "epoch s", "joint split s", "ratio", "peak GB"]
    print(f"{torch.get_num_threads()} threads; tests {' '.join(f'{test:.1f}' for test in event.agreement)}")
    print(tabulate(rows, headers=[*headers, "B an interaction"], floatfmt=".2f"))


if __name__ == "__main__":
    main()
