"""Keep embeddings non-negative."""

from __future__ import annotations

import torch
from torch import nn

from .additive import AdditiveEmbedding
from .clustered import ClusteredEmbedding
from .row_table import RowTable

# Entities whose own rows are bounded at once.
BLOCK = 1 << 16


@torch.no_grad()
def project_non_negative(table: nn.Module) -> None:
    """Project ``table`` in place so that no embedding it gives has a negative number.

    Shared rows, and rows of plain tables, are cut at zero; tables that compute rows know how. An entity's own row
    may be negative, as far as its sum with the shared row, in every view, is not.

    Args:
        table: clustered, additive, a :class:`~.row_table.RowTable`, or any whose rows are sums or products of its
            parameters.
    """
    if isinstance(table, AdditiveEmbedding):
        for level in table.levels:
            project_non_negative(level)
        return
    if isinstance(table, RowTable):
        table.project_non_negative()
        return
    if not isinstance(table, ClusteredEmbedding):
        for parameter in table.parameters():
            parameter.clamp_(min=0)
        return
    weight = table.weight
    weight.clamp_(min=0)
    if table.personal is not None and table.personalised:
        everyone = torch.arange(table.num_embeddings, device=weight.device)
        for entities in everyone.split(BLOCK):
            own = table.personal[entities[0] : entities[-1] + 1]
            lowest = weight[table.assignment.views(entities)].amin(dim=1)
            torch.maximum(own, -lowest, out=own)
