"""What a training step costs beside one of full tables, in turns, so that all meet the same machine.

    python benchmarks/step.py --json benchmarks/results/steps.jsonl

A step is a batch's forward and backward pass and fused Adam. What clusters are later chosen by is taken as well,
and that time is shown apart (on a CPU), for few epochs are followed by a choice; there are no events. Codes are
drawn at random, for in untrained tables all ids would share one row, which processors are quicker to fetch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from scale import BATCH, METHODS, SETTINGS, DeepFM, clock, planted, tables_of
from tabulate import tabulate
from torch import Tensor, nn

from recbole_cel.clustering import ClusterOptimiser
from recbole_cel.embedding import AdditiveEmbedding, levels_of
from recbole_cel.evidence import ModuleObjective
from recbole_cel.tables.measure import program

INTERACTIONS = 1_000_000


class FM(nn.Module):
    """First order and product of two fields: next to nothing but lookups."""

    def __init__(self, make: Callable[[int], Sequence[nn.Module]], dim: int) -> None:
        super().__init__()
        self.rows, self.biases = (nn.ModuleList(make(width)) for width in (dim, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits ``(B,)``."""
        linear = self.biases[0](left) + self.biases[1](right)
        return (self.rows[0](left) * self.rows[1](right)).sum(dim=1) + linear.squeeze(1)


MODELS: dict[str, type[FM] | type[DeepFM]] = {"FM": FM, "DeepFM": DeepFM}


def scatter(model: FM | DeepFM) -> None:
    """Give all ids codes at random, in all levels and views."""
    for table in model.rows:
        if not isinstance(table, AdditiveEmbedding):
            continue
        for level in levels_of(table):
            nn.init.normal_(level.weight, std=0.01)
            one = level.assignment
            for ids in torch.arange(one.num_entities).split(1 << 20):
                one.codes.put(one.level, ids, torch.randint(one.max_clusters, one.views(ids).shape))
            one.codes.count(one.level)


def steps_of(name: str, method: str, dim: int, ids: int, data: Sequence[Tensor]) -> Callable[[Tensor], float]:
    """What makes a step of a batch, and tells how many seconds evidence took of it."""
    torch.manual_seed(0)
    left, right, labels = data
    model = MODELS[name](tables_of(method, ids), dim)
    scatter(model)
    model = model.to(left.device)
    objective = ModuleObjective(model, ["left", "right"], [left, right], labels)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    clusters: ClusterOptimiser | None = None
    if method in SETTINGS:
        fields = {one: [model.rows[n], model.biases[n]] for n, one in enumerate(("left", "right"))}
        # Entities are going to choose at the end of an epoch that never ends; a joint split is in the first round.
        settings = replace(SETTINGS[method], reassign_interval=1.0)
        clusters = ClusterOptimiser(fields, objective, settings, steps_per_epoch=1 << 40, optimiser=optimiser)

    def step(batch: Tensor) -> float:
        optimiser.zero_grad()
        outputs = objective.training_outputs(left[batch], right[batch], interactions=batch)
        nn.functional.binary_cross_entropy_with_logits(outputs, labels[batch]).backward()
        optimiser.step()
        started = time.perf_counter()
        if clusters is not None:
            clusters.step()
        # A GPU is not waited for in a step, so that what is asked of it may take until the next.
        return 0.0 if left.is_cuda else time.perf_counter() - started

    return step


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, default=1_000_000, help="of each of the two fields")
    parser.add_argument("--dims", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    every = ["full", "hash", *SETTINGS]
    parser.add_argument("--methods", nargs="+", choices=every, default=[*METHODS, "cel, one level"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--json", help="file to which each line is added")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    device = torch.device(options.device)
    data = [column.to(device) for column in planted(options.ids, INTERACTIONS)]
    batches = torch.randperm(INTERACTIONS, device=device)[: INTERACTIONS // BATCH * BATCH].split(BATCH)
    rows = []
    for name in options.models:
        for dim in options.dims:
            steps = {method: steps_of(name, method, dim, options.ids, data) for method in options.methods}
            times: dict[str, list[tuple[float, float]]] = {method: [] for method in steps}
            for number in range(options.rounds + 1):
                for method, step in steps.items():
                    some = [batches[(number * options.steps + n) % len(batches)] for n in range(options.steps)]
                    started = clock(device)
                    evidence = sum(map(step, some))
                    whole = clock(device) - started
                    times[method].append(
                        (1e3 * (whole - evidence) / options.steps, 1e3 * evidence / options.steps)
                    )
            for method, of_method in times.items():
                # The first round warms up.
                taken, evidence_ms = ([one[part] for one in of_method[1:]] for part in (0, 1))
                faster = [one[0] / other for one, other in zip(times[options.methods[0]][1:], taken)]
                line: dict[str, Any] = {"model": name, "dim": dim, "ids": options.ids, "method": method}
                line |= {"step": statistics.median(taken), "evidence": statistics.median(evidence_ms)}
                line |= {"faster": statistics.median(faster), "rounds": taken, "device": options.device}
                rows.append([name, dim, method, *(f"{line[key]:.2f}" for key in ("step", "evidence", "faster"))])
                print(rows[-1], file=sys.stderr)
                if options.json:
                    with open(options.json, "a") as file:
                        file.write(json.dumps({**line, **program()}) + "\n")
    print(
        tabulate(
            rows,
            headers=["model", "d", "method", "step ms", "evidence ms", f"times faster than {options.methods[0]}"],
        )
    )


if __name__ == "__main__":
    main()
