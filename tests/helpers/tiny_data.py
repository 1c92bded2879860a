"""A small data set with side features, as RecBole atomic files."""

from __future__ import annotations

from pathlib import Path

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
