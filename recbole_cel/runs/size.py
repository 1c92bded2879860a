"""How many numbers and bytes the tables of the entity fields take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..embedding import ClusteredEmbedding


class FieldSize(NamedTuple):
    """What one field's tables take, and what full tables would.

    Attributes:
        field: name of the field.
        entities: number of ids N.
        clusters: clusters with members, in all levels, or None where there are none.
        parameters: numbers in all of the field's tables.
        full_parameters: the same for full tables.
        table_bytes: of the parameters.
        assignment_bytes: of what is stored for each entity besides.
        optimiser_bytes: of the optimiser's state for the tables.
        full_bytes: of full tables and the same optimiser's state for them.
        alike: whether all ids share one row.
    """

    field: str
    entities: int
    clusters: int | None
    parameters: int
    full_parameters: int
    table_bytes: int
    assignment_bytes: int
    optimiser_bytes: int
    full_bytes: int
    alike: bool = False

    @property
    def total_bytes(self) -> int:
        """Tables, assignment and optimiser state."""
        return self.table_bytes + self.assignment_bytes + self.optimiser_bytes


def field_size(
    field: str, entities: int, tables: Sequence[nn.Module], optimiser: torch.optim.Optimizer | None
) -> FieldSize:
    """Count what the ``tables`` of ``field`` and their optimiser state take now."""
    parameters = [parameter for table in tables for parameter in table.parameters()]
    numbers = sum(parameter.numel() for parameter in parameters)
    table_bytes = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    states = optimiser.state if optimiser is not None else {}
    optimiser_bytes = sum(
        value.numel() * value.element_size()
        for parameter in parameters
        for value in states.get(parameter, {}).values()
        if torch.is_tensor(value)
    )
    # As many moments as the optimiser keeps for each number here, it would keep for each number of a full table.
    moments = max(
        (
            sum(torch.is_tensor(v) and v.shape == parameter.shape for v in states.get(parameter, {}).values())
            for parameter in parameters
        ),
        default=0,
    )
    full = entities * sum(getattr(table, "embedding_dim", 0) for table in tables)
    assignments = {m.assignment for t in tables for m in t.modules() if isinstance(m, ClusteredEmbedding)}
    return FieldSize(
        field,
        entities,
        sum(assignment.num_clusters for assignment in assignments) or None,
        numbers,
        full,
        table_bytes,
        sum(part.numel() * part.element_size() for a in assignments for part in (a.clusters, a.held_out)),
        optimiser_bytes,
        full * 4 * (1 + moments),
        entities > 1 and bool(assignments) and all(assignment.num_clusters == 1 for assignment in assignments),
    )
