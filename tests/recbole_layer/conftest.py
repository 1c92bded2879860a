"""A small data set with side features, as RecBole atomic files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

USERS, ITEMS, INTERACTIONS = 60, 40, 1500


def write_tiny(folder: Path, seed: int = 0) -> Path:
    """Write data set ``tiny`` under ``folder``: ratings 1 to 5 that depend on kinds of users and items."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randperm(USERS * ITEMS, generator=generator)[:INTERACTIONS]
    users, items = pairs // ITEMS, pairs % ITEMS
    liked = (users % 3 == items % 3).float() * 2 + 2 + torch.randn(INTERACTIONS, generator=generator)
    ratings = liked.round().clamp(1, 5).int()
    (folder / "tiny").mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\trating:float"]
    lines += [f"u{u}\ti{i}\t{r}" for u, i, r in zip(users.tolist(), items.tolist(), ratings.tolist())]
    (folder / "tiny" / "tiny.inter").write_text("\n".join(lines) + "\n")
    lines = ["user_id:token\tage:token"] + [f"u{u}\t{u % 5}" for u in range(USERS)]
    (folder / "tiny" / "tiny.user").write_text("\n".join(lines) + "\n")
    lines = ["item_id:token\tclass:token_seq"] + [f"i{i}\tc{i % 4} c{i % 7}" for i in range(ITEMS)]
    (folder / "tiny" / "tiny.item").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture
def options(tiny, tmp_path, monkeypatch):
    """Options for a short run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    return {
        "data_path": str(tiny),
        "threshold": {"rating": 3},
        "load_col": {
            "inter": ["user_id", "item_id", "rating"],
            "user": ["user_id", "age"],
            "item": ["item_id", "class"],
        },
        "epochs": 3,
        "train_batch_size": 256,
        "show_progress": False,
        "state": "WARNING",
        "cel_max_clusters": 4,
    }
