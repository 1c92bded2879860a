"""What an embedding strategy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..embedding import FullEmbedding
from ..settings import CELSettings
from .budget import Cost, FieldBudget
from .storage import Storage, buffer_bytes, optimiser_bytes, parameter_bytes
from .training import Training, TrainingHook

Table = TypeVar("Table", bound=nn.Module)
Strategy = TypeVar("Strategy", bound="EmbeddingStrategy[Any]")


@dataclass(frozen=True)
class NoOptions:
    """Of a strategy that has none of its own."""


class About(NamedTuple):
    """What a reader wants to know of a strategy, for the table of all of them.

    Attributes:
        row: what the row of an id is.
        source: who proposed it, and where.
        stored: what is stored.
        while_training: what is needed besides while training.
    """

    row: str
    source: str
    stored: str
    while_training: str = ""


class EmbeddingStrategy(ABC, Generic[Table]):
    """Makes the tables of one entity field, in place of full ones.

    A model may have several tables for a field (latent rows, first-order weights); what is stored per entity,
    such as an assignment, they share through this object. A subclass says ``name``, ``suffix`` and how a table is
    made, and may say more; :func:`~.registry.register_strategy` makes it known.

    Args:
        budget: what the tables of the field may take.
        settings: options that all strategies share.
        options: options of this strategy.

    Attributes:
        name: the value of ``embedding_strategy`` in a configuration.
        suffix: model ``X`` with this strategy is called ``X_<suffix>``.
        prefix: of the configuration keys of its own options.
        Options: dataclass of its own options, each declared by :func:`~..options.option`.
        about: for the table of all strategies.
        shares_batches: whether several processes may each take a part of a batch; not where tables note what was
            looked up, or normalise over it.
        used: the ``cel_*`` options (without ``cel_``) that have an effect.
        num_entities: number of ids N.
        size: as large as the budget allows: rows of each table, unless the strategy says otherwise.
        tables: the tables made so far.
        full_tables: tables of the field that the strategy leaves full.

    Raises:
        SettingError: if the budget cannot be kept.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    prefix: ClassVar[str] = ""
    Options: ClassVar[type[Any]] = NoOptions
    about: ClassVar[About | None] = None
    shares_batches: ClassVar[bool] = True
    used: ClassVar[set[str]] = {"fields", "max_clusters", "compression_ratio", "share_first_order"}

    def __init__(self, budget: FieldBudget, settings: CELSettings, options: Any = None) -> None:
        self.budget = budget
        self.settings = settings
        self.options = self.Options() if options is None else options
        self.num_entities = budget.num_entities
        self.size = self._size()
        self.tables: list[Table] = []
        self.full_tables: list[nn.Module] = []

    @classmethod
    def for_fields(
        cls: type[Strategy], budgets: Mapping[str, FieldBudget], settings: CELSettings, options: Any = None
    ) -> dict[str, Strategy]:
        """The strategy of each field; one that shares tables among fields makes them here."""
        return {name: cls(budget, settings, options) for name, budget in budgets.items()}

    def table(self, embedding_dim: int, std: float, mean: float = 0.0) -> Table:
        """Make one more table: ids ``(*)`` in, embeddings ``(*, embedding_dim)`` out; None in, all rows out.

        ``std`` is the standard deviation of the initial embeddings, and ``mean`` their mean.
        """
        table = self._make_table(embedding_dim, std, mean)
        self.tables.append(table)
        return table

    def full_table(self, embedding_dim: int, std: float, mean: float = 0.0) -> nn.Module:
        """Make a table with one row for each entity, whatever the strategy."""
        table = FullEmbedding(self.num_entities, embedding_dim, mean=mean, std=std)
        self.full_tables.append(table)
        return table

    @property
    def all_tables(self) -> list[nn.Module]:
        """All tables of the field."""
        return [*self.tables, *self.full_tables]

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Bytes of all tables of the field by part. Buffers count as codes."""
        tables = self.all_tables
        return Storage(parameter_bytes(tables), buffer_bytes(tables), optimiser=optimiser_bytes(tables, optimiser))

    @property
    def numbers(self) -> int:
        """Numbers in all tables of the field that are served; of a table that fields share, the field's share."""
        served = self.cost(self.size).numbers
        tables = self.all_tables if served is None else self.full_tables
        parameters = {parameter for table in tables for parameter in table.parameters()}
        return sum(parameter.numel() for parameter in parameters) + int(served or 0)

    def settle(self) -> None:
        """Make tables that shrink while training as small as the budget says, at once."""

    @property
    def num_clusters(self) -> int | None:
        """Groups of ids that share rows, if these are learned and can be counted; otherwise None."""
        return None

    @property
    def alike(self) -> bool:
        """Whether all ids have one and the same row."""
        return False

    def penalty(self, num_examples: int) -> Tensor | None:
        """What is added to a batch's mean loss, where an epoch has so many examples; None is nothing."""
        return None

    @classmethod
    def lookups(cls, columns: Sequence[Tensor], fold: int | None = None) -> AbstractContextManager[None]:
        """Opened around a forward pass on training interactions, whose id ``columns`` are each of shape ``(B,)``.

        Args:
            columns: of all fields whose ids tell interactions apart.
            fold: for strategies that leave folds of the interactions out: the one that all leave out, if given.
        """
        return nullcontext()

    @classmethod
    def while_training(cls, strategies: Mapping[str, Any], training: Training) -> TrainingHook | None:
        """What is to be done after each optimiser step; None is nothing.

        Args:
            strategies: of each field.
            training: what there is to work with.
        """
        return None

    def cost(self, size: int) -> Cost:
        """What the tables take if they are of ``size``; it grows with the size."""
        return Cost(size * self.budget.width)

    def _size(self) -> int:
        """The largest size within the budget."""
        return self.budget.largest(self.cost, self.num_entities)

    @abstractmethod
    def _make_table(self, embedding_dim: int, std: float, mean: float) -> Table: ...
