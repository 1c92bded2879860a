"""How many bytes and numbers the tables of the entity fields take, and what full tables would."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..strategies import EmbeddingStrategy, Storage
from ..strategies.budget import BYTES_PER_NUMBER
from ..strategies.storage import moments


class FieldSize(NamedTuple):
    """What one field's tables take, and what full tables would.

    Attributes:
        field: name of the field.
        entities: number of ids N.
        clusters: groups of ids that share rows, or None where they are not learned.
        parameters: numbers in all of the field's tables, as they are served.
        full_parameters: the same for full tables.
        storage: bytes by part.
        full_training: bytes of full tables and the same optimiser's state for them.
        alike: whether all ids share one row.
    """

    field: str
    entities: int
    clusters: int | None
    parameters: int
    full_parameters: int
    storage: Storage
    full_training: int
    alike: bool = False

    @property
    def full_serving(self) -> int:
        """Bytes of full tables."""
        return self.full_parameters * BYTES_PER_NUMBER


def field_size(field: str, strategy: EmbeddingStrategy[Any], optimiser: torch.optim.Optimizer | None) -> FieldSize:
    """Count what the tables of ``field`` and their optimiser state take now."""
    tables = strategy.all_tables
    full = strategy.num_entities * sum(getattr(table, "embedding_dim", 0) for table in tables)
    return FieldSize(
        field,
        strategy.num_entities,
        strategy.num_clusters,
        strategy.numbers,
        full,
        strategy.storage(optimiser),
        # As many moments as the optimiser keeps for a number here, it would keep for one of a full table.
        full * BYTES_PER_NUMBER * (1 + moments(tables, optimiser)),
        strategy.alike,
    )


def state_bytes(model: torch.nn.Module) -> int:
    """Bytes that the tensors of ``model`` take in a file at least; those that share memory count once."""
    storages = (tensor.untyped_storage() for tensor in model.state_dict().values())
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
