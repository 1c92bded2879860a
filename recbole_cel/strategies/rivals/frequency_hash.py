"""Own rows for the most active ids, a hash for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...options import check_options, is_int, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import Cost
from ..registry import register_strategy
from ..training import Training
from .history import activity, most_active
from .own_rows import BYTES_OF_AN_ID, OwnRows, OwnRowsTable


@dataclass(frozen=True)
class FrequencyHashOptions:
    """Options of :class:`FrequencyHashStrategy`."""

    own_share: float = option(
        0.5,
        "share of the rows that belong to one id each, the most active ones",
        "a number from 0, below 1",
        lambda value: is_number(value, 0) and value < 1,
    )
    functions: int = option(
        2, "shared rows that are added up for an id that has no own one", "an integer >= 1", lambda v: is_int(v, 1)
    )

    def __post_init__(self) -> None:
        check_options(self)


@register_strategy
class FrequencyHashStrategy(EmbeddingStrategy[OwnRowsTable]):
    """The most active ids have rows of their own, all others share rows by a hash.

    After Zhang, Liu, Xie, Ktena, Tejani, Gupta, Myana, Dilipkumar, Paul, Ihara, Upadhyaya, Huszar and Shi, "Model
    size reduction using frequency based double hashing for recommender systems", RecSys 2020: row ``E[n(i)]``
    where ``i`` is the n-th of the H most active ids, and ``E[H + h1(i)] + E[H + h2(i)]`` for the others.

    It needs to know before training how active ids are. Stored are H ids of 4 bytes, in their order. Until the
    data are seen, all ids share rows by the hash. That half of the rows are own ones is our choice.
    """

    name = "frequency_hash"
    suffix = "FrequencyHash"
    prefix = "frequency_hash_"
    Options = FrequencyHashOptions
    about = About(
        "E[n(i)] of the H most active ids, E[H + h1(i)] + E[H + h2(i)] of the others",
        "Zhang et al., RecSys 2020",
        "K rows, and the H ids that have their own",
        "how active ids are, once",
    )

    @cached_property
    def own_rows(self) -> OwnRows:
        """Shared by all tables."""
        own = self._own(self.size)
        return OwnRows(self.num_entities, own, self.size - own, self.options.functions)

    def cost(self, size: int) -> Cost:
        """Of so many rows."""
        return Cost(size * self.budget.width, self._own(size) * BYTES_OF_AN_ID)

    @classmethod
    def while_training(cls, strategies: Mapping[str, FrequencyHashStrategy], training: Training) -> None:
        """The most active ids get their rows before training."""
        for name, strategy in strategies.items():
            counts = activity(training, name, strategy.num_entities)
            strategy.own_rows.put(most_active(counts, strategy.own_rows.own).to(strategy.own_rows.ids.device))

    def _own(self, size: int) -> int:
        return min(size - 1, int(size * self.options.own_share))

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> OwnRowsTable:
        return OwnRowsTable(self.own_rows, embedding_dim, mean=mean, std=std)
