"""What tables cost as ids become many: full ones, hashed ones, the paper's clusters, and those of the defaults.

    python benchmarks/scale.py --ids 10000 100000 1000000 --json benchmarks/results/scale.jsonl

With ``--device cuda`` all of it is on a GPU, whose largest allocation is the memory then, with the data.

A DeepFM of two fields is trained on interactions of Zipf popularity with planted tastes. Each run has a process of
its own, whose largest resident set, less the data, is its memory. Times are wall times, events included, and
``cluster work`` is the time of events over that of training steps; ``step`` is a training step without events.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from tabulate import tabulate
from torch import Tensor, nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import (
    AdditiveEmbedding,
    ClusteredEmbedding,
    FullEmbedding,
    ModuloHashEmbedding,
    shared_assignments,
)
from recbole_cel.evidence import ModuleObjective
from recbole_cel.runs.repeatable import be_repeatable
from recbole_cel.tables.measure import program

BATCH = 4096
GROUPS = 8
HIDDEN = (128, 128, 128)
# Held out, to see whether anything was learned.
TEST = 100_000
SETTINGS = {
    "cel": ClusterSettings(),
    "cel, once an epoch": ClusterSettings(split_interval=1.0),
    "cel, one level": ClusterSettings(levels=1),
    "paper": ClusterSettings(levels=1, folds=1, split_gain=0.0, reassign_gain=0.0, reassign_interval=1.0),
}
METHODS = ("full", "hash", "paper", "cel")
CLUSTERS = 512


class DeepFM(nn.Module):
    """First order, product and network of two fields, as in RecBole's, with tables of any kind."""

    def __init__(self, make: Callable[[int], Sequence[nn.Module]], dim: int) -> None:
        super().__init__()
        self.rows, self.biases = (nn.ModuleList(make(width)) for width in (dim, 1))
        layers = list[nn.Module]()
        for before, after in zip((2 * dim, *HIDDEN), HIDDEN):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits ``(B,)``."""
        one, other = self.rows[0](left), self.rows[1](right)
        linear = self.biases[0](left) + self.biases[1](right) + self.network(torch.cat([one, other], dim=1))
        return (one * other).sum(dim=1) + linear.squeeze(1)


def tables_of(method: str, ids: int) -> Callable[[int], list[nn.Module]]:
    """Makes the tables of both fields, of a width."""
    if method == "full":
        return lambda width: [FullEmbedding(ids, width) for _ in range(2)]
    if method == "hash":
        return lambda width: [ModuloHashEmbedding(ids, width, CLUSTERS) for _ in range(2)]
    settings = SETTINGS[method]
    clusters = CLUSTERS // settings.levels
    shared = [
        shared_assignments(ids, [clusters] * settings.levels, [1] * settings.levels, settings.folds)
        for _ in range(2)
    ]
    return lambda width: [
        AdditiveEmbedding([ClusteredEmbedding(one, width) for one in of_field]) for of_field in shared
    ]


def planted(ids: int, number: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Ids of both fields, of Zipf popularity, and labels by tastes of groups, and by what each id adds."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        # The r-th id comes with a probability near to 1 / (r + 10), and its number says nothing of that.
        rank = (10 * (ids / 10 + 1) ** torch.rand(number, generator=generator, dtype=torch.float64) - 10).long()
        return (rank.clamp(0, ids - 1) * 7_919) % ids

    left, right = draw(), draw()
    taste = torch.randn(GROUPS, GROUPS, generator=generator)
    group = [torch.randint(GROUPS, (ids,), generator=generator) for _ in range(2)]
    effect = [0.5 * torch.randn(ids, generator=generator) for _ in range(2)]
    logits = 1.5 * taste[group[0][left], group[1][right]] + effect[0][left] + effect[1][right]
    return left, right, torch.bernoulli(torch.sigmoid(logits), generator=generator)


def resident(what: str) -> int:
    """Bytes of ``VmRSS`` or ``VmHWM`` of this process (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])


def clock(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def run(method: str, ids: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model, and measure."""
    number = ids * options.per_id
    device = torch.device(options.device)
    be_repeatable({"device": device, "reproducibility": options.reproducible})
    left, right, labels = (column.to(device) for column in planted(ids, number + TEST))
    torch.manual_seed(0)
    before = resident("VmRSS")
    make = tables_of(method, ids)
    model = DeepFM(make, options.dim).to(device)
    objective = ModuleObjective(model, ["left", "right"], [left[:number], right[:number]], labels[:number])
    optimiser = torch.optim.Adam(model.parameters(), lr=options.learning_rate, fused=True)
    clusters, steps = None, -(-number // BATCH)
    if method in SETTINGS:
        fields = {name: [model.rows[n], model.biases[n]] for n, name in enumerate(("left", "right"))}
        clusters = ClusterOptimiser(
            fields, objective, SETTINGS[method], steps_per_epoch=steps, optimiser=optimiser
        )
    training, work = list[float](), list[float]()
    for epoch in range(options.epochs):
        order = torch.randperm(number, generator=torch.Generator().manual_seed(epoch)).to(device)
        started, in_events = clock(device), 0.0
        for batch in order.split(BATCH):
            optimiser.zero_grad()
            outputs = objective.training_outputs(left[batch], right[batch], interactions=batch)
            nn.functional.binary_cross_entropy_with_logits(outputs, labels[batch]).backward()
            optimiser.step()
            if clusters is not None:
                event = time.perf_counter()
                # Only what events do is waited for: a step that waited for a GPU would not be a step.
                if clusters.step():
                    clock(device)
                in_events += time.perf_counter() - event
        work.append(in_events)
        training.append(clock(device) - started - in_events)
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(a, b) for a, b in zip(left[number:].split(BATCH), right[number:].split(BATCH))])
    largest = resident("VmHWM") - before
    if device.type == "cuda":
        largest = torch.cuda.max_memory_allocated(device)
    sizes = [
        sum(one.numel() * one.element_size() for one in some) for some in (model.parameters(), model.buffers())
    ]
    return {
        **{"method": method, "ids": ids, "interactions": number, "dim": options.dim, "epochs": options.epochs},
        **{"training": training, "work": work, "steps": steps, "device": options.device},
        "reproducible": options.reproducible,
        **{"auc": roc_auc_score(labels[number:].cpu().numpy(), scores.cpu().numpy())},
        **{"memory": largest, "bytes": 3 * sizes[0] + sizes[1]},
    }


def row_of(found: dict[str, Any]) -> list[Any]:
    """A line of the table."""
    training, work = found["training"], found["work"]
    whole = sum(training) + sum(work)
    return [
        *(found["method"], found["ids"], f"{1e3 * sum(training) / (found['epochs'] * found['steps']):.1f}"),
        *(f"{training[0]:.1f}", f"{work[0] / training[0]:.2f}", f"{sum(work) / sum(training):.2f}"),
        f"{1e6 * whole / (found['epochs'] * found['interactions']):.1f}",
        *(f"{found['auc']:.4f}", f"{found['memory'] / 1e9:.2f}", f"{found['bytes'] / (2 * found['ids']):.0f}"),
    ]


HEADERS = [
    *("method", "ids a field", "step ms", "first epoch s", "cluster work in it", "in all"),
    *("µs an interaction", "test AUC", "GB above the data", "B an id, Adam's included"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, nargs="+", default=[10_000, 100_000], help="of each of the two fields")
    parser.add_argument("--per-id", type=int, default=10, help="interactions, times the ids of a field")
    parser.add_argument("--methods", nargs="+", choices=["full", "hash", *SETTINGS], default=METHODS)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--reproducible", action="store_true", help="as with RecBole's reproducibility")
    parser.add_argument("--json", help="file to which each run is added as a line")
    parser.add_argument("--one", action="store_true", help="run one, and print what was found")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    if options.one:
        print(json.dumps(run(options.methods[0], options.ids[0], options)))
        return
    rows, failed = [], False
    for ids in options.ids:
        for method in options.methods:
            own = ["--one", "--ids", str(ids), "--methods", method]
            for key in ("per_id", "epochs", "dim", "learning_rate", "device"):
                own += [f"--{key.replace('_', '-')}", str(getattr(options, key))]
            own += ["--reproducible"] if options.reproducible else []
            done = subprocess.run([sys.executable, __file__, *own], stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"{method}, {ids:,} ids: ended with {done.returncode}", file=sys.stderr)
                failed = True
                continue
            found = json.loads(done.stdout)
            rows.append(row_of(found))
            print(tabulate([rows[-1]], headers=HEADERS), file=sys.stderr)
            if options.json:
                with open(options.json, "a") as file:
                    file.write(json.dumps({**found, **program()}) + "\n")
    print(tabulate(rows, headers=HEADERS))
    sys.exit(failed)


if __name__ == "__main__":
    main()
