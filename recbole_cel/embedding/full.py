"""A plain table, under the contract of all tables here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def check_ids(entities: Tensor, num_embeddings: int) -> None:
    """Check that ids are integers, and in ``0 .. num_embeddings - 1`` where that costs little: on the CPU.

    Raises:
        TypeError: if they are no integers.
        IndexError: naming the first that is out of range.
    """
    if entities.is_floating_point() or entities.is_complex() or entities.dtype == torch.bool:
        raise TypeError(f"ids must be integers, got {entities.dtype}")
    if entities.device.type != "cpu" or not entities.numel():
        return
    low, high = (int(end) for end in entities.aminmax())
    if low < 0 or high >= num_embeddings:
        raise IndexError(f"id {low if low < 0 else high} is out of range: ids are 0..{num_embeddings - 1}")


class FullEmbedding(nn.Embedding):
    """``nn.Embedding`` with one row for each of N entities, initialised by a mean and a standard deviation.

    Args:
        num_embeddings: number of entities N.
        embedding_dim: size d of a row.
        mean: mean of the initial rows.
        std: standard deviation of the initial rows.

    Shapes:
        ``(*)`` integer entity ids in, ``(*, d)`` out; None in, ``(N, d)`` out.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, *, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(num_embeddings, embedding_dim)
        nn.init.normal_(self.weight, mean, std)

    def forward(self, entities: Tensor | None) -> Tensor:
        """Embeddings ``(*, d)`` of ``entities`` ``(*)``, or all of them."""
        if entities is None:
            return self.weight
        check_ids(entities, self.num_embeddings)
        return F.embedding(entities.long(), self.weight)


def all_ids(num_embeddings: int, device: torch.device) -> Tensor:
    """Ids of all entities, shape ``(N,)``."""
    return torch.arange(num_embeddings, device=device)
