"""Which cluster each entity belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def smallest_integer_type(num_values: int) -> torch.dtype:
    """The smallest of uint8, int16 and int32 that holds ``0 .. num_values - 1``."""
    if num_values <= 2**8:
        return torch.uint8
    if num_values <= 2**15:
        return torch.int16
    return torch.int32


class ClusterAssignment(nn.Module):
    """The cluster of every entity of one field; several tables may share one assignment.

    Args:
        num_entities: number of entities N.
        max_clusters: largest number of clusters K; cluster ids are ``0 .. K - 1``.
        initial_clusters: number of clusters M0 at the start; entity ``e`` starts in cluster ``e % M0``.

    Attributes:
        clusters: buffer of shape ``(N,)`` in the smallest integer type that holds K values.
        members: buffer of shape ``(K,)``, int64, the number of entities in each cluster. Derived from
            ``clusters`` and therefore not saved.

    Raises:
        ValueError: if a size is not positive, or ``initial_clusters`` exceeds ``max_clusters``.
    """

    clusters: Tensor
    members: Tensor

    def __init__(self, num_entities: int, max_clusters: int, initial_clusters: int = 1) -> None:
        super().__init__()
        if num_entities < 1 or max_clusters < 1:
            raise ValueError(
                f"an assignment needs at least one entity and one cluster, got num_entities={num_entities}, "
                f"max_clusters={max_clusters}"
            )
        if not 1 <= initial_clusters <= max_clusters:
            raise ValueError(f"initial_clusters must lie in 1..{max_clusters}, got {initial_clusters}")
        self.num_entities = num_entities
        self.max_clusters = max_clusters
        cycle = torch.arange(initial_clusters, dtype=smallest_integer_type(max_clusters))
        cycles = -(-num_entities // initial_clusters)
        self.register_buffer("clusters", cycle.repeat(cycles)[:num_entities].clone())
        self.register_buffer("members", torch.zeros(max_clusters, dtype=torch.int64), persistent=False)
        self._count_members()

    def forward(self, entities: Tensor) -> Tensor:
        """Cluster ids (int64) of ``entities`` (any shape, any integer type), in the same shape."""
        return self.clusters[entities.long()].long()

    @property
    def num_clusters(self) -> int:
        """Number of clusters that have at least one member."""
        return int((self.members > 0).sum())

    def move(self, entities: Tensor, clusters: Tensor) -> None:
        """Put ``entities`` of shape ``(M,)`` into ``clusters`` of shape ``(M,)``.

        Raises:
            ValueError: if a cluster id lies outside ``0 .. K - 1``; nothing is moved then.
        """
        if len(clusters) and (int(clusters.min()) < 0 or int(clusters.max()) >= self.max_clusters):
            raise ValueError(f"cluster ids must lie in 0..{self.max_clusters - 1}")
        self.clusters[entities] = clusters.to(self.clusters.dtype)
        self._count_members()

    @contextmanager
    def provisionally(self, entities: Tensor, clusters: Tensor) -> Iterator[None]:
        """Look ``entities`` up in ``clusters`` within the block, then put everything back."""
        before = self.clusters[entities]
        self.clusters[entities] = clusters.to(self.clusters.dtype)
        try:
            yield
        finally:
            self.clusters[entities] = before

    def validate(self, clusters: Tensor) -> None:
        """Check an assignment before it is taken over.

        Raises:
            ValueError: if its type differs, or any entity's cluster lies outside ``0 .. K - 1``.
        """
        if clusters.dtype != self.clusters.dtype:
            raise ValueError(f"the assignment is of type {clusters.dtype}, not {self.clusters.dtype}")
        low, high = int(clusters.min()), int(clusters.max())
        if low < 0 or high >= self.max_clusters:
            raise ValueError(
                f"the assignment names cluster {low if low < 0 else high}, "
                f"but clusters are 0..{self.max_clusters - 1}"
            )

    def extra_repr(self) -> str:
        """Sizes and storage type, for ``print(model)``."""
        return f"num_entities={self.num_entities}, max_clusters={self.max_clusters}, dtype={self.clusters.dtype}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if f"{prefix}clusters" in state_dict:
            self.validate(state_dict[f"{prefix}clusters"])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._count_members()

    def _count_members(self) -> None:
        # bincount reads any integer type, but int64 copies of a large assignment are made by blocks only.
        total = torch.zeros_like(self.members)
        for block in self.clusters.split(1 << 22):
            total += torch.bincount(block.long(), minlength=self.max_clusters)
        self.members.copy_(total)
