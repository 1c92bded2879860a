"""The table of all token fields of a model, in which some fields have tables of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from ..embedding.additive import AdditiveEmbedding, look_up


class TokenTable(nn.Module):
    """Takes the place of RecBole's ``FMEmbedding``, which stacks all token fields in one ``nn.Embedding``.

    Args:
        field_names: names of the F token fields, in the order of the input's columns.
        field_sizes: number of ids of each field.
        own: fields that have a table of their own, with the table.
        embedding_dim: size d of a row.
        std: standard deviation of the initial rows of the other fields.

    Shapes:
        ``(B, F)`` ids in, ``(B, F, d)`` out.
    """

    _offsets: Tensor
    _stacked_columns: Tensor
    _restore: Tensor | None

    def __init__(
        self,
        field_names: Sequence[str],
        field_sizes: Sequence[int],
        own: Mapping[str, nn.Module],
        embedding_dim: int,
        std: float,
    ) -> None:
        super().__init__()
        self.own = nn.ModuleDict(own)
        self._own_columns = [field_names.index(name) for name in own]
        stacked = [c for c, name in enumerate(field_names) if name not in own]
        sizes = [field_sizes[column] for column in stacked]
        self.stacked = nn.Embedding(sum(sizes), embedding_dim) if sizes else None
        if self.stacked is not None:
            nn.init.normal_(self.stacked.weight, 0.0, std)
        self.register_buffer("_offsets", torch.tensor([0, *accumulate(sizes)][:-1]), persistent=False)
        # Lists of Python would be copied to a GPU in every step.
        self.register_buffer("_stacked_columns", torch.tensor(stacked), persistent=False)
        order = self._own_columns + stacked
        restore = None if order == sorted(order) else torch.tensor([order.index(c) for c in range(len(order))])
        self.register_buffer("_restore", restore, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings ``(B, F, d)`` of ``ids`` ``(B, F)``."""
        columns, tables = [ids[:, c] for c in self._own_columns], list(self.own.values())
        additive = [table for table in tables if isinstance(table, AdditiveEmbedding)]
        if len(additive) == len(tables):
            parts = [look_up(additive, columns)]
        else:
            parts = [table(column).unsqueeze(1) for column, table in zip(columns, tables)]
        if self.stacked is not None:
            parts.append(self.stacked(ids.index_select(1, self._stacked_columns) + self._offsets))
        rows = torch.cat(parts, dim=1)
        return rows if self._restore is None else rows.index_select(1, self._restore)
