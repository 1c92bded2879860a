"""What an embedding strategy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from torch import nn

from ..clustering import ClusterSettings

Table = TypeVar("Table", bound=nn.Module)


class EmbeddingStrategy(ABC, Generic[Table]):
    """Makes the tables of one entity field, in place of full ones.

    A model may have several tables for a field (latent rows, first-order weights); what is stored per entity,
    such as an assignment, they share through this object.

    Args:
        num_entities: number of entities N of the field.
        num_rows: the budget, in rows.
        settings: options of the strategies.

    Attributes:
        name: the value of ``embedding_strategy`` in a configuration.
        options: the options (without ``cel_``) that have an effect.
        suffix: model ``X`` with this strategy is called ``X_<suffix>``.
        tables: the tables made so far.
        full_tables: tables of the field that the strategy leaves full.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    options: ClassVar[set[str]] = {"fields", "max_clusters", "compression_ratio", "share_first_order"}

    def __init__(self, num_entities: int, num_rows: int, settings: ClusterSettings) -> None:
        self.num_entities = num_entities
        self.num_rows = num_rows
        self.settings = settings
        self.tables: list[Table] = []
        self.full_tables: list[nn.Embedding] = []

    def table(self, embedding_dim: int, std: float, mean: float = 0.0) -> Table:
        """Make one more table: ids ``(*)`` in, embeddings ``(*, embedding_dim)`` out.

        ``std`` is the standard deviation of the initial embeddings, and ``mean`` their mean.
        """
        table = self._make_table(embedding_dim, std, mean)
        self.tables.append(table)
        return table

    def full_table(self, embedding_dim: int, std: float, mean: float = 0.0) -> nn.Embedding:
        """Make a table with one row for each entity, whatever the strategy."""
        table = self._full_embedding(embedding_dim, std, mean)
        self.full_tables.append(table)
        return table

    @property
    def all_tables(self) -> list[nn.Module]:
        """All tables of the field."""
        return [*self.tables, *self.full_tables]

    def _full_embedding(self, embedding_dim: int, std: float, mean: float) -> nn.Embedding:
        table = nn.Embedding(self.num_entities, embedding_dim)
        nn.init.normal_(table.weight, mean, std)
        return table

    @abstractmethod
    def _make_table(self, embedding_dim: int, std: float, mean: float) -> Table: ...
