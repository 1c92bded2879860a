"""Ratings as three columns, and how they are split."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

TRAINING_ROWS = 80_001


class Ratings(NamedTuple):
    """Some ratings of users for items.

    Attributes:
        users: shape ``(n,)``, int64, in ``0 .. num_users - 1``.
        items: shape ``(n,)``, int64, in ``0 .. num_items - 1``.
        values: shape ``(n,)``, float32.
        num_users: number of users, also those without a rating here.
        num_items: number of items, likewise.
    """

    users: Tensor
    items: Tensor
    values: Tensor
    num_users: int
    num_items: int

    def at(self, rows: Tensor) -> Ratings:
        """The ratings at positions ``rows`` (or where a mask is true)."""
        return self._replace(users=self.users[rows], items=self.items[rows], values=self.values[rows])


def ml_100k_file() -> Path:
    """The file of MovieLens-100K that RecBole brings along; its rows are in the original order."""
    import recbole

    return Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"


def read_ml_100k() -> pd.DataFrame:
    """The 100,000 ratings, columns ``user``, ``item`` and ``rating``, ids as in the original, from 1."""
    frame = pd.read_csv(ml_100k_file(), sep="\t", usecols=[0, 1, 2])
    return frame.set_axis(["user", "item", "rating"], axis=1)


def authors_split(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The authors' split: all rows shuffled by pandas, positions up to 80,000 train, the others validate.

    numpy's global generator is seeded right before, as there, and put back afterwards.
    """
    state = np.random.get_state()
    try:
        np.random.seed(seed)
        shuffled = frame.sample(frac=1)
    finally:
        np.random.set_state(state)
    return shuffled.iloc[:TRAINING_ROWS], shuffled.iloc[TRAINING_ROWS:]


def to_ratings(frame: pd.DataFrame, num_users: int, num_items: int) -> Ratings:
    """Columns of tensors; id ``i`` of the file becomes ``i - 1``."""
    columns = [torch.from_numpy(frame[name].to_numpy(np.int64)) - 1 for name in ("user", "item")]
    values = torch.from_numpy(frame["rating"].to_numpy(np.float32))
    return Ratings(columns[0], columns[1], values, num_users, num_items)


def authors_ratings(seed: int) -> tuple[Ratings, Ratings]:
    """Training and validation ratings of MovieLens-100K as the authors split them."""
    frame = read_ml_100k()
    sizes = int(frame["user"].max()), int(frame["item"].max())
    train, valid = authors_split(frame, seed)
    return to_ratings(train, *sizes), to_ratings(valid, *sizes)


def hold_out(ratings: Ratings, share: float, seed: int) -> tuple[Ratings, Ratings]:
    """Cut ``ratings`` at random into those to fit and a ``share`` to choose options by."""
    order = torch.randperm(len(ratings.values), generator=torch.Generator().manual_seed(seed))
    held = round(share * len(ratings.values))
    return ratings.at(order[held:]), ratings.at(order[:held])
