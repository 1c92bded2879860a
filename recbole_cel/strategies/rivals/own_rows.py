"""Some ids have rows of their own, and all others share rows by a hash."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from .codes import check_range
from .hashing import double_hashed, hashed

BYTES_OF_AN_ID = 4


class OwnRows(nn.Module):
    """Which ids have a row of their own: the n-th smallest of them has row n.

    Args:
        num_entities: number of ids N.
        own: rows H for ids of their own.
        shared: rows that the other ids share, after those.
        functions: shared rows that are added up for each of these, by double hashing.

    Attributes:
        ids: buffer of shape ``(H,)``, int32, the ids in their order; N where a row is free.
    """

    ids: Tensor

    def __init__(self, num_entities: int, own: int, shared: int, functions: int = 1) -> None:
        super().__init__()
        self.num_entities, self.own, self.shared = num_entities, own, shared
        self.functions = functions
        self.register_buffer("ids", torch.full((own,), num_entities, dtype=torch.int32))

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ``ids`` ``(n,)``, int64; of those that add up several, the first."""
        shared = self.own + hashed(ids, 0, self.shared)
        if not self.own:
            return shared
        place = torch.searchsorted(self.ids, ids.int()).clamp(max=self.own - 1)
        return torch.where(self.ids[place] == ids, place, shared)

    def further(self, ids: Tensor) -> Tensor:
        """What ids without a row of their own add to that, rows of shape ``(n, functions - 1)``."""
        return self.own + double_hashed(ids, self.shared, self.functions)[:, 1:]

    @property
    def known(self) -> Tensor:
        """The ids that have rows of their own, int64."""
        return self.ids[self.ids < self.num_entities].long()

    def put(self, ids: Tensor) -> None:
        """Give ``ids``, different ones and H at most, rows of their own."""
        self.ids.fill_(self.num_entities)
        self.ids[: len(ids)] = ids.sort().values.int()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        ids = state_dict.get(f"{prefix}ids")
        if ids is not None:
            check_range(f"{prefix}ids", ids, 0, self.num_entities)
            if bool((ids.diff() < 0).any()):
                raise ValueError(f"{prefix}ids are not in their order")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class OwnRowsTable(RowTable):
    """A row of its own for some ids, shared rows for the others.

    Args:
        own_rows: who has which; several tables may share it.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.
    """

    def __init__(self, own_rows: OwnRows, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(own_rows.num_entities, embedding_dim)
        self.own_rows = own_rows
        rows = own_rows.own + own_rows.shared
        self.weight = nn.Parameter(torch.empty(rows, embedding_dim).normal_(mean, std))
        with torch.no_grad():  # sums start as single rows do
            shared, summands = self.weight[own_rows.own :], own_rows.functions
            shared.sub_(mean).div_(math.sqrt(summands)).add_(mean / summands)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        first = self.own_rows(ids)
        found = F.embedding(first, self.weight)
        if self.own_rows.functions == 1:
            return found
        further = F.embedding(self.own_rows.further(ids), self.weight).sum(dim=1)
        return found + torch.where(first.unsqueeze(1) < self.own_rows.own, 0.0, further)
