"""Codes as plain integers, one for each level, view and entity, in the place of packed ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_cel.embedding.packed_codes import smallest_integer_type


class UnpackedCodes(nn.Module):
    """What ``PackedCodes`` offers, with ``codes`` of shape ``(L, V, N)``."""

    def __init__(self, num_entities: int, sizes: Sequence[int], starts: Sequence[int], folds: int = 1) -> None:
        super().__init__()
        self.sizes, self.num_folds, self.levels = tuple(sizes), folds, list(range(len(sizes)))
        self.version = 0
        views = folds + 1 if folds > 1 else 1
        codes = [[[entity % start for entity in range(num_entities)]] * views for start in starts]
        self.register_buffer("codes", torch.tensor(codes))
        self.register_buffer("members", torch.zeros(sum(sizes), dtype=torch.int64), persistent=False)
        self.register_buffer("occupied", torch.zeros(sum(sizes), dtype=torch.bool), persistent=False)
        for level in self.levels:
            self.count(level)

    @property
    def num_entities(self) -> int:
        return self.codes.shape[2]

    @property
    def words(self) -> Tensor:
        """All views, of which the last is served."""
        return self.codes.transpose(0, 1)

    def look_up(self, entities: Tensor | None, views: Tensor | None = None) -> Tensor:
        return torch.stack([self.look_up_level(level, entities, views) for level in self.levels], dim=1)

    def by_id(self, found: Tensor, levels: slice = slice(None)) -> Tensor:
        return found[:, levels]

    def by_level(self, found: Tensor, levels: slice = slice(None)) -> Tensor:
        return found[:, levels].T

    def look_up_level(self, level: int, entities: Tensor | None, views: Tensor | None = None) -> Tensor:
        entities = torch.arange(self.num_entities) if entities is None else entities
        views = torch.full_like(entities, self.codes.shape[1] - 1) if views is None else views
        return self.codes[level, views, entities]

    def views(self, level: int, entities: Tensor) -> Tensor:
        return self.codes[level][:, entities].T

    def unpacked(self, level: int) -> Tensor:
        return self.codes[level, -1].to(smallest_integer_type(self.sizes[level]))

    def views_differ(self) -> bool:
        return bool((self.codes != self.codes[:, -1:]).any())

    def put(self, level: int, entities: Tensor, codes: Tensor) -> None:
        self.version += 1
        self.codes[level][:, entities] = codes.long().T if codes.dim() == 2 else codes.long()

    def fill(self, level: int, mask: Tensor, codes: Sequence[int]) -> None:
        self.version += 1
        for view, code in enumerate(codes):
            self.codes[level, view, mask] = code

    def extend(self, num_entities: int, like: int) -> None:
        self.version += 1
        more = num_entities - self.num_entities
        self.codes = torch.cat([self.codes, self.codes[:, :, [like] * more]], dim=2)
        for level in self.levels:
            self.count(level)

    def part(self, level: int) -> slice:
        return slice(sum(self.sizes[:level]), sum(self.sizes[: level + 1]))

    def count(self, level: int) -> None:
        count = torch.stack([torch.bincount(view, minlength=self.sizes[level]) for view in self.codes[level]])
        self.members[self.part(level)] = count[-1]
        self.occupied[self.part(level)] = count.any(dim=0)
