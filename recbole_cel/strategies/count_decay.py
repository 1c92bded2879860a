"""A full table whose rows decay the less, the more interactions their ids have: a baseline on sparse data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..embedding import FullEmbedding
from ..options import check_options, is_number, option
from .base import About, EmbeddingStrategy
from .budget import BYTES_PER_NUMBER, Cost
from .full import size_of_full
from .registry import register_strategy
from .storage import Storage
from .training import Training


@dataclass(frozen=True)
class CountDecayOptions:
    """How strongly rows are pulled to nothing."""

    strength: float = option(
        1.0,
        "pull of the row of an id without interactions to nothing: this times its square, against the summed loss",
        "a number >= 0",
        lambda value: is_number(value, 0),
    )
    power: float = option(
        0.5,
        "the pull of a row with n interactions is (n + 1) to this power times weaker; 0 pulls all alike",
        "a number >= 0",
        lambda value: is_number(value, 0),
    )

    def __post_init__(self) -> None:
        check_options(self)


class CountedEmbedding(FullEmbedding):
    """A full table that knows how many interactions its ids have.

    Attributes:
        counts: shape ``(N,)``; not saved.
    """

    counts: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(num_embeddings, embedding_dim, mean=mean, std=std)
        self.register_buffer("counts", torch.zeros(num_embeddings), persistent=False)

    def pull(self, power: float) -> Tensor:
        """Sum of the squares of all rows, of each divided by its count and one to the ``power``, shape ``()``."""
        return (self.weight.square().sum(dim=1) / (self.counts + 1).pow(power)).sum()


@register_strategy
class CountDecayStrategy(EmbeddingStrategy[CountedEmbedding]):
    """Adds ``strength * sum_i |E[i]|^2 / (n_i + 1)^power`` to the summed loss, for n_i interactions of id i.

    With power 0 it is a normal prior that all rows share; above, rows of which little is known stay near nothing,
    and others are free. Use it with ``weight_decay: 0``.
    """

    name = "count_decay"
    suffix = "CountDecay"
    prefix = "count_decay_"
    Options = CountDecayOptions
    about = About(
        "E[i], pulled to 0 by a strength that falls with the id's count", "", "a row for each id", "counts"
    )
    used: ClassVar[set[str]] = {"fields"}
    options: CountDecayOptions

    @classmethod
    def while_training(cls, strategies: Mapping[str, CountDecayStrategy], training: Training) -> None:
        """Count the interactions of each id."""
        for name, strategy in strategies.items():
            ids, _ = training.pairs(name)
            for table in strategy.tables:
                table.counts.copy_(torch.bincount(ids, minlength=strategy.num_entities))

    def penalty(self, num_examples: int) -> Tensor | None:
        """The pull, for a mean loss."""
        pulls = [table.pull(self.options.power) for table in self.tables]
        return self.options.strength / num_examples * torch.stack(pulls).sum() if pulls else None

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Counts are for training only."""
        found = super().storage(optimiser)
        return found._replace(codes=0, training_codes=found.codes)

    def cost(self, size: int) -> Cost:
        """Rows, and a count of each id for each table."""
        counts = self.num_entities * len(self.budget.widths) * BYTES_PER_NUMBER
        return Cost(size * self.budget.width, training_codes=counts)

    def _size(self) -> int:
        return size_of_full(self.budget)

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> CountedEmbedding:
        return CountedEmbedding(self.num_entities, embedding_dim, mean=mean, std=std)
