"""Write data sets whose structure lies in pairs as atomic files, for ``benchmarks/accuracy.py``.

    python benchmarks/pairs_data.py --folder data
    python benchmarks/pairs_data.py --folder data --positives ml-100k/ml-100k.inter ml-1m/ml-1m.inter

The first writes planted data, five seeds each; the second makes implicit feedback of real interactions: all of
them are positives, and each gets one negative of the same user, drawn uniformly (``-uni``) or by popularity
(``-pop``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from recbole_cel.experiments.pairs import (
    Pairs,
    plant_groups,
    plant_parity,
    plant_ratings,
    plant_three_fields,
)

USERS, ITEMS, LABELS = 2000, 1000, 100_000
PLANTED: dict[str, Callable[[torch.Generator], Pairs]] = {
    "groups": lambda generator: plant_groups(USERS, ITEMS, LABELS, 4, generator),
    "eight-groups": lambda generator: plant_groups(USERS, ITEMS, 20 * USERS, 8, generator),
    "main-effects": lambda generator: plant_groups(USERS, ITEMS, LABELS, 4, generator, main_effects=1.0),
    "parity": lambda generator: plant_parity(USERS, ITEMS, LABELS, generator),
    "three-fields": lambda generator: plant_three_fields((500, USERS, ITEMS), LABELS, generator),
    "ratings": lambda generator: plant_ratings(USERS, ITEMS, LABELS, 4, generator),
}
FIELDS = ["context", "user_id", "item_id"]


def write(folder: Path, name: str, columns: dict[str, Sequence[object]]) -> None:
    """Write ``folder/name/name.inter``."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(folder / name / f"{name}.inter", sep="\t", index=False)
    print(folder / name)


def write_planted(folder: Path, seeds: int) -> None:
    """Write all kinds of planted data."""
    for kind, plant in PLANTED.items():
        for seed in range(seeds):
            pairs = plant(torch.Generator().manual_seed(seed))
            target = "rating" if kind == "ratings" else "label"
            ids = zip(FIELDS[-len(pairs.ids) :], pairs.ids)
            columns: dict[str, Sequence[object]] = {f"{field}:token": of.tolist() for field, of in ids}
            columns[f"{target}:float"] = pairs.targets.tolist()
            write(folder, f"{kind}-{seed}", columns)


def draw_negatives(users: Tensor, items: Tensor, by_popularity: bool, seed: int) -> Tensor:
    """For each positive, an item that its user has no positive of, shape ``(n,)``."""
    generator = torch.Generator().manual_seed(seed)
    number = int(items.max()) + 1
    known = (users * number + items).unique()
    negatives, missing = torch.empty_like(items), torch.arange(len(items))
    while len(missing):
        drawn = torch.randint(len(items) if by_popularity else number, (len(missing),), generator=generator)
        negatives[missing] = items[drawn] if by_popularity else drawn
        missing = missing[torch.isin(users[missing] * number + negatives[missing], known)]
    return negatives


def write_implicit(folder: Path, file: Path, seed: int) -> None:
    """Write the interactions of an atomic file as positives, with negatives of both kinds."""
    table = pd.read_csv(file, sep="\t", usecols=["user_id:token", "item_id:token"], dtype=str)
    codes, tokens = zip(*(pd.factorize(table[field]) for field in ("user_id:token", "item_id:token")))
    users, items = map(torch.from_numpy, codes)
    for kind in ("uni", "pop"):
        negatives = draw_negatives(users, items, kind == "pop", seed)
        columns: dict[str, Sequence[object]] = {
            "user_id:token": list(table["user_id:token"]) * 2,
            "item_id:token": [*table["item_id:token"], *tokens[1][negatives.numpy()]],
            "label:float": [1.0] * len(users) + [0.0] * len(users),
        }
        write(folder, f"{file.stem}-{kind}", columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="to write to, a folder for each data set")
    parser.add_argument("--positives", type=Path, nargs="*", help="atomic files of real interactions")
    parser.add_argument("--seeds", type=int, default=5, help="of planted data")
    options = parser.parse_args(arguments)
    if options.positives is None:
        write_planted(options.folder, options.seeds)
    for file in options.positives or []:
        write_implicit(options.folder, file, 0)


if __name__ == "__main__":
    main()
