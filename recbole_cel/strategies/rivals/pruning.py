"""Full tables of which the numbers of least magnitude are taken away while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_int, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import BYTES_PER_NUMBER, Cost
from ..registry import register_strategy
from ..storage import Storage
from ..training import Training
from .acting import ActingHook
from .row_state import clear_state

BYTES_OF_A_POINTER = 4
# Where the numbers of an id begin follows from the last pointer, and the counts or bits of the ids since.
IDS_OF_A_POINTER = 256


@dataclass(frozen=True)
class PruningOptions:
    """Options of :class:`PruningStrategy`."""

    start: float = option(
        0.0, "epochs of training before anything is pruned", "a number >= 0", lambda v: is_number(v, 0)
    )
    epochs: float = option(
        6.0, "epochs from the first pruning to the last", "a number > 0", lambda v: is_number(v, 0, open=True)
    )
    times: int = option(
        40, "how often is pruned in these epochs", "an integer from 1 to 10000", lambda v: is_int(v, 1, 10**4)
    )

    def __post_init__(self) -> None:
        check_options(self)


class PrunedTable(RowTable):
    """A row for each id, in which some numbers are and stay zero.

    Args:
        num_embeddings: number of ids N.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Attributes:
        kept: buffer of shape ``(N, d)``, bool, the numbers that are trained.
    """

    kept: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim).normal_(mean, std))
        self.register_buffer("kept", torch.ones(num_embeddings, embedding_dim, dtype=torch.bool))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        return F.embedding(ids, self.weight) * self.kept[ids]


@register_strategy
class PruningStrategy(EmbeddingStrategy[PrunedTable]):
    """Full tables at first, of whose numbers the largest are kept.

    Magnitude pruning on the cubic schedule of Zhu and Gupta, "To prune, or not to prune", ICLR Workshop 2018; for
    embeddings cf. Liu, Gao, Chen, Jin and Li, "Learnable embedding sizes for recommender systems" (PEP), ICLR
    2021, which learns thresholds instead. After a share t of the schedule, ``s + (1 - s)(1 - t)^3`` of the numbers
    of all tables of the field are kept, those of largest magnitude; s is what the budget leaves. Then the rest is
    trained on. A number that was pruned does not come back.

    Served are the numbers that were kept, and which they are: a column for each (one byte for up to 256 columns
    of all tables together, otherwise two) with a count for each id, or a mask of bits for each id, whatever
    takes fewer bytes; and where the numbers of every 256th id begin. Training needs full tables and a mask, so
    that no budget of training bytes below that can be kept. Budgets in rows and parameters count numbers that
    are kept.
    Before the schedule has ended, no epoch counts as the best.
    """

    name = "pruning"
    suffix = "Pruning"
    prefix = "pruning_"
    Options = PruningOptions
    about = About(
        "E[i] with zeros in the place of small numbers",
        "magnitude: Zhu, Gupta, ICLR Workshop 2018; PEP: Liu et al., ICLR 2021",
        "numbers, and which they are: their columns and counts, or a mask of bits",
        "full tables and a mask",
    )

    def cost(self, size: int) -> Cost:
        """Of so many kept numbers as rows of that number would have."""
        width = self.budget.width
        full = self.num_entities * width
        return Cost(full, training_codes=full, served=self._served(size * width), numbers=size * width)

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """What is served now, and what training needs further."""
        found = super().storage(optimiser)
        kept = int(self.num_kept)
        rows = kept * BYTES_PER_NUMBER
        for_tables = int(self._served(kept)) - rows
        own = sum(table.weight.numel() * table.weight.element_size() for table in self.tables)
        return found._replace(
            rows=found.rows - own + rows, codes=for_tables, training_codes=found.codes + own - rows - for_tables
        )

    @property
    def num_kept(self) -> Tensor:
        """Numbers that are kept now, in all tables."""
        return torch.stack([table.kept.sum() for table in self.tables]).sum()

    @torch.no_grad()
    def prune(self, numbers: int) -> Tensor:
        """Keep the ``numbers`` of largest magnitude of those that are left; returns the least magnitude kept."""
        magnitudes = torch.cat(
            [table.weight.abs().masked_fill(~table.kept, -1).flatten() for table in self.tables]
        )
        largest, places = magnitudes.topk(min(numbers, len(magnitudes)))
        kept = torch.zeros_like(magnitudes, dtype=torch.bool)
        kept[places] = largest >= 0
        parts = kept.split([table.weight.numel() for table in self.tables])
        for table, part in zip(self.tables, parts):
            table.kept.copy_(part.view_as(table.kept))
            table.weight.masked_fill_(~table.kept, 0)
        return largest[-1]

    def settle(self) -> None:
        """Keep no more than the budget says."""
        self.prune(self.size * self.budget.width)

    @classmethod
    def while_training(cls, strategies: Mapping[str, PruningStrategy], training: Training) -> PruningHook:
        """Numbers are taken away in the first epochs."""
        return PruningHook(strategies, training)

    def _served(self, numbers: float) -> float:
        width, ids = self.budget.width, self.num_entities
        index, count = 1 if width <= 2**8 else 2, 1 if width < 2**8 else 2
        which = min(numbers * index + ids * count, ids * -(-width // 8))
        return numbers * BYTES_PER_NUMBER + which + -(-ids // IDS_OF_A_POINTER) * BYTES_OF_A_POINTER

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> PrunedTable:
        return PrunedTable(self.num_entities, embedding_dim, mean=mean, std=std)


class PruningHook(ActingHook[PruningStrategy]):
    """Prunes on the cubic schedule."""

    what = "pruning"

    def __init__(self, strategies: Mapping[str, PruningStrategy], training: Training) -> None:
        options = next(iter(strategies.values())).options
        super().__init__(strategies, training, options.epochs / options.times, options.times, options.start)
        self._times = options.times

    @property
    def settled(self) -> bool:
        """Whether the schedule has ended."""
        return self.acts == self._times

    def act(self, name: str, strategy: PruningStrategy) -> dict[str, float]:
        """Prune one field; what Adam remembers of pruned numbers ends."""
        full = strategy.num_entities * strategy.budget.width
        final = strategy.size * strategy.budget.width
        left = (1 - self.acts / self._times) ** 3
        least = strategy.prune(round(final + (full - final) * left))
        for table in strategy.tables:
            clear_state(self.training.optimiser, table.weight, ~table.kept)
        return {"kept": float(strategy.num_kept), "least": float(least)}
