"""What machines that share the ids would send in a step: rows of full tables, or codes of clustered ones.

    python benchmarks/messages.py --ids 1000000000 --machines 8 64

Ids are spread over the machines by their numbers. In a step, each machine asks the owners of the ids in its part
of the batch, each id once. Of a full table, an owner sends the row, and gets its gradient back; of clusters, it
sends the packed codes, and the shared rows are on every machine, whose gradients all add up. Popularity is that of
Zipf; the batches are drawn, and their different ids counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from tabulate import tabulate

from recbole_cel.clustering import ClusterSettings
from recbole_cel.embedding.packed_codes import bytes_of

ID_BYTES, NUMBER_BYTES = 8, 4


def different_ids(ids: int, number: int, machines: int, generator: torch.Generator) -> tuple[float, float]:
    """Mean number of different ids in one machine's part of ``number``, and of those, how many others own."""
    found = []
    for _ in range(8):
        uniform = torch.rand(number // machines, generator=generator, dtype=torch.float64)
        ranks = (10 * (ids / 10 + 1) ** uniform - 10).long().clamp(0, ids - 1)
        found.append(len((ranks * 7_919 % ids).unique()))
    mean = sum(found) / len(found)
    return mean, mean * (machines - 1) / machines


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw batches, and print what a machine sends and receives in a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, default=1_000_000_000, help="of each of two fields")
    parser.add_argument("--batch", type=int, default=65_536, help="interactions in a step, of all machines")
    parser.add_argument("--machines", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--dim", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--clusters", type=int, default=64, help="of a level")
    options = parser.parse_args(arguments)
    settings, generator = ClusterSettings(), torch.Generator().manual_seed(0)
    code = bytes_of(settings.levels, options.clusters)
    rows = []
    for machines in options.machines:
        each, remote = different_ids(options.ids, options.batch, machines, generator)
        for dim in options.dim:
            shared = 2 * settings.levels * options.clusters * (dim + 1)
            # A ring sends all numbers about twice.
            ring = 2 * shared * NUMBER_BYTES * (machines - 1) / machines
            full = 2 * remote * (ID_BYTES + 2 * (dim + 1) * NUMBER_BYTES)
            ours = 2 * remote * (ID_BYTES + code) + ring
            owned = options.ids / machines
            rows.append(
                [
                    *(machines, dim, f"{2 * each:,.0f}", f"{full / 1e3:,.0f}", f"{ours / 1e3:,.0f}"),
                    f"{ring / 1e3:,.0f}",
                    f"{2 * owned * 3 * (dim + 1) * NUMBER_BYTES / 1e9:,.1f}",
                    f"{2 * owned * (settings.folds + 1) * code / 1e9:,.1f}",
                ]
            )
    headers = ["machines", "d", "ids a machine asks for", "kB of full rows", "kB of codes and shared rows"]
    headers += ["of it shared rows", "GB a machine keeps: full, Adam", "codes of all folds"]
    print(f"{options.ids:,} ids a field, {options.batch:,} interactions a step, codes of {code} bytes")
    print(tabulate(rows, headers=headers))


if __name__ == "__main__":
    main()
