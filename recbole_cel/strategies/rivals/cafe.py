"""Ids that matter now have rows of their own, the others share rows by a hash."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...clustering.row_state import copy_row_state
from ...options import check_options, is_int, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..storage import Storage, buffer_bytes
from ..training import Training
from .acting import ActingHook
from .hot_sketch import BYTES_OF_A_BUCKET, HotSketch
from .own_rows import BYTES_OF_AN_ID, OwnRows, OwnRowsTable

# Look-ups of a batch, such as of positive and negative items, that are remembered until the step.
LOOKUPS = 16


@dataclass(frozen=True)
class CafeOptions:
    """Options of :class:`CafeStrategy`."""

    own_share: float = option(
        0.5,
        "share of the rows that belong to one id each, those that matter most",
        "a number from 0, below 1",
        lambda value: is_number(value, 0) and value < 1,
    )
    buckets: int = option(
        4,
        "buckets of the sketch for each own row, of four ids each",
        "an integer from 1 to 64",
        lambda v: is_int(v, 1, 64),
    )
    interval: float = option(
        1.0,
        "epochs from one time when rows are given and taken to the next",
        "a number > 0",
        lambda value: is_number(value, 0, open=True),
    )
    decay: float = option(
        0.9,
        "what is left of importance after each such time",
        "a number from 0 to 1",
        lambda value: is_number(value, 0) and value <= 1,
    )

    def __post_init__(self) -> None:
        check_options(self)


class WatchedTable(OwnRowsTable):
    """Notes the norms of the gradients of rows that are looked up in training.

    Attributes:
        seen: ids ``(n,)`` of each look-up since they were last taken, and norms ``(n,)``.
    """

    def __init__(self, own_rows: OwnRows, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(own_rows, embedding_dim, mean=mean, std=std)
        self.seen: deque[tuple[Tensor, Tensor]] = deque(maxlen=LOOKUPS)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        found = super().rows(ids)
        if self.training and found.requires_grad:
            found.register_hook(lambda gradient: self.seen.append((ids, gradient.detach().float().norm(dim=1))))
        return found

    def take(self) -> tuple[Tensor, Tensor]:
        """Each id that was seen, once, and the sum of its norms."""
        ids, norms = (torch.cat(parts) for parts in zip(*self.seen))
        self.seen.clear()
        different, places = ids.unique(return_inverse=True)
        return different, norms.new_zeros(len(different)).index_add_(0, places, norms)


@register_strategy
class CafeStrategy(EmbeddingStrategy[OwnRowsTable]):
    """Own rows for the ids with the largest gradients of late, a hash for the others.

    Zhang, Liu, Chen, Zhao, Zhao, Yang and Cui, "CAFE: towards compact, adaptive, and fast
    embedding for large-scale recommendation models", SIGMOD 2024. A sketch (buckets of four slots, as in
    SpaceSaving) sums the norms of the gradients of each id's row. Ids with large sums have own rows, all others
    share rows by a hash; sums fade, so that rows move on.

    It needs the sketch while training, four buckets of 32 bytes for each own row (one in the paper, whose ids
    differ more in their activity), and stores the ids that have own rows. Ours: the threshold is that which
    fills all own rows, rows are given and taken at once every so many steps, half of the rows are own ones, and
    the gradients are those of the widest table. Who gets an own row starts from the shared one and from what
    Adam remembers of it; who loses it has the shared row again.
    """

    name = "cafe"
    suffix = "CAFE"
    prefix = "cafe_"
    shares_batches = False
    Options = CafeOptions
    about = About(
        "E[n(i)] of the H ids with the largest gradients of late, E[H + h(i)] of the others",
        "Zhang et al., SIGMOD 2024",
        "K rows, and the H ids that have their own",
        "a sketch of 16 H scores",
    )

    @cached_property
    def own_rows(self) -> OwnRows:
        """Shared by all tables."""
        own = self._own(self.size)
        rows = OwnRows(self.num_entities, own, self.size - own)
        # A module of it, so that it is saved.
        rows.add_module("sketch", self.sketch)
        return rows

    @cached_property
    def sketch(self) -> HotSketch:
        """Shared by all tables."""
        return HotSketch(self.num_entities, self._buckets(self.size))

    def cost(self, size: int) -> Cost:
        """Of so many rows."""
        own = self._own(size)
        return Cost(size * self.budget.width, own * BYTES_OF_AN_ID, self._buckets(size) * BYTES_OF_A_BUCKET)

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """The sketch is for training only."""
        found, sketch = super().storage(optimiser), buffer_bytes([self.sketch])
        return found._replace(codes=found.codes - sketch, training_codes=sketch)

    @classmethod
    def while_training(cls, strategies: Mapping[str, CafeStrategy], training: Training) -> CafeHook:
        """Importance is noted at each step; rows are given and taken now and then."""
        return CafeHook(strategies, training, next(iter(strategies.values())).options.interval)

    def give(self, optimiser: torch.optim.Optimizer) -> int:
        """Give own rows to the ids that matter most now; returns how many get one that had none.

        Rows and what the optimiser remembers of them move to where they are looked up from now on.
        """
        ids = self.sketch.hottest(self.own_rows.own).sort().values
        source = self.own_rows(ids)
        places = torch.arange(len(ids), device=ids.device)
        for table in self.tables:
            with torch.no_grad():
                table.weight[places] = table.weight[source]
            copy_row_state(optimiser, table.weight, source, places)
        self.own_rows.put(ids)
        return int((source >= self.own_rows.own).sum())

    def _own(self, size: int) -> int:
        return min(size - 1, int(size * self.options.own_share))

    def _buckets(self, size: int) -> int:
        return max(1, self._own(size)) * self.options.buckets

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> OwnRowsTable:
        watched = any(isinstance(table, WatchedTable) for table in self.tables)
        watches = embedding_dim == max(self.budget.widths) and not watched
        return (WatchedTable if watches else OwnRowsTable)(self.own_rows, embedding_dim, mean=mean, std=std)


class CafeHook(ActingHook[CafeStrategy]):
    """Notes how much ids matter, and gives rows to those that do."""

    what = "own rows"

    def step(self) -> None:
        """Count one optimiser step; note importance, and act if it is time."""
        for strategy in self.strategies.values():
            for table in strategy.tables:
                if isinstance(table, WatchedTable) and table.seen:
                    strategy.sketch.add(*table.take())
        super().step()

    def act(self, name: str, strategy: CafeStrategy) -> dict[str, float]:
        """Give and take the rows of one field."""
        given = strategy.give(self.training.optimiser)
        strategy.sketch.decay(strategy.options.decay)
        return {"given": float(given), "own": float(len(strategy.own_rows.known))}
