"""Which cluster each entity belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .folds import LeakError, folds_of_batch
from .full import all_ids, check_ids

BLOCK = 1 << 20


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
        folds: number of folds F of the interactions, for cross-fitting (see ``folds.py``); 1 is none.

    Attributes:
        clusters: buffer of shape ``(N,)`` in the smallest integer type that holds K values.
        held_out: buffer of shape ``(F, N)`` of the same type, what was assigned without each fold. With one fold,
            of shape ``(0, N)``.
        members: buffer of shape ``(K,)``, int64, the number of entities in each cluster. Derived from
            ``clusters`` and therefore not saved.
        occupied: buffer of shape ``(K,)``, bool, clusters that anybody has, with all interactions or without some
            fold; the others are free to be given away. Derived as well.

    Raises:
        ValueError: if a size is not positive, or ``initial_clusters`` exceeds ``max_clusters``.
    """

    clusters: Tensor
    held_out: Tensor
    members: Tensor
    occupied: Tensor

    def __init__(self, num_entities: int, max_clusters: int, initial_clusters: int = 1, folds: int = 1) -> None:
        super().__init__()
        if num_entities < 1 or max_clusters < 1:
            raise ValueError(
                f"an assignment needs at least one entity and one cluster, got num_entities={num_entities}, "
                f"max_clusters={max_clusters}"
            )
        if not 1 <= initial_clusters <= max_clusters:
            raise ValueError(f"initial_clusters must lie in 1..{max_clusters}, got {initial_clusters}")
        if folds < 1:
            raise ValueError(f"folds must be at least 1, got {folds}")
        self.num_entities = num_entities
        self.num_folds = folds
        self.max_clusters = max_clusters
        cycle = torch.arange(initial_clusters, dtype=smallest_integer_type(max_clusters))
        cycles = -(-num_entities // initial_clusters)
        self.register_buffer("clusters", cycle.repeat(cycles)[:num_entities].clone())
        self.register_buffer("held_out", self.clusters.repeat(folds if folds > 1 else 0, 1))
        self.register_buffer("members", torch.zeros(max_clusters, dtype=torch.int64), persistent=False)
        self.register_buffer("occupied", torch.zeros(max_clusters, dtype=torch.bool), persistent=False)
        self._count_members()

    def forward(self, entities: Tensor | None, folds: Tensor | None = None) -> Tensor:
        """Cluster ids (int64) of ``entities`` (any shape, any integer type), in the same shape; None is all.

        Args:
            entities: shape ``(B, ...)``, or ``(*)`` if nothing is left out.
            folds: shape ``(B,)``, the fold that each interaction leaves out; by default, that of the present
                batch (:func:`~.folds.cross_fitted`), or none.

        Raises:
            LeakError: in training, if there are folds, and none is left out.
        """
        (clusters,) = clusters_of([self], entities, folds)
        return clusters.long() if entities is None else clusters.long().view(entities.shape)

    def views(self, entities: Tensor) -> Tensor:
        """All that is assigned to ``entities`` ``(E,)``, int64: without each fold, and last with all.

        Shape ``(E, F + 1)``, or ``(E, 1)`` with one fold.
        """
        return torch.cat([self.held_out[:, entities], self.clusters[entities].unsqueeze(0)]).long().T

    @property
    def num_clusters(self) -> int:
        """Number of clusters that are assigned to anybody."""
        return int(self.occupied.sum())

    def move(self, entities: Tensor, clusters: Tensor) -> None:
        """Put ``entities`` of shape ``(M,)`` into ``clusters``.

        These are of shape ``(M, F + 1)``, as in :meth:`views`, or of shape ``(M,)``, for all views alike.

        Raises:
            ValueError: if a cluster id lies outside ``0 .. K - 1``; nothing is moved then.
        """
        self.move_all([(entities, clusters)])

    def move_all(
        self, pieces: Sequence[tuple[Tensor, Tensor]], others: tuple[Tensor, Sequence[int]] | None = None
    ) -> None:
        """As :meth:`move`, of several pieces of entities, each with its clusters; members are counted once.

        ``others`` are entities that are all put into the same clusters: a mask of shape ``(N,)``, and a cluster
        for each of the views.

        Raises:
            ValueError: if a cluster id lies outside ``0 .. K - 1``; nothing is moved then.
        """
        for _, clusters in pieces:
            if len(clusters) and (int(clusters.min()) < 0 or int(clusters.max()) >= self.max_clusters):
                raise ValueError(f"cluster ids must lie in 0..{self.max_clusters - 1}")
        for entities, clusters in pieces:
            self._put(entities, clusters)
        if others is not None:
            mask, (*without, whole) = others
            self.clusters.masked_fill_(mask, whole)
            for held_out, cluster in zip(self.held_out, without):
                held_out.masked_fill_(mask, cluster)
        self._count_members()

    def extend(self, num_entities: int, like: int) -> None:
        """Make room for ids up to ``num_entities - 1``; new ones start in the clusters of entity ``like``.

        An entity without interactions is a good model of them. Own rows of tables are not extended.

        Raises:
            ValueError: if there are more ids already, or ``like`` is none of them.
        """
        more = num_entities - self.num_entities
        if more < 0 or not 0 <= like < self.num_entities:
            raise ValueError(
                f"{self.num_entities} ids cannot become {num_entities}, of which the new ones are like id {like}"
            )
        self.clusters = torch.cat([self.clusters, self.clusters[like].expand(more)])
        if self.num_folds > 1:
            self.held_out = torch.cat([self.held_out, self.held_out[:, like : like + 1].expand(-1, more)], dim=1)
        self.num_entities = num_entities
        self._count_members()

    @contextmanager
    def provisionally(self, entities: Tensor, clusters: Tensor) -> Iterator[None]:
        """Look ``entities`` up in ``clusters`` within the block, then put everything back."""
        before = self.views(entities)
        self._put(entities, clusters)
        try:
            yield
        finally:
            self._put(entities, before)

    def _left_out(self, entities: Tensor | None, folds: Tensor | None) -> Tensor | None:
        """The fold that each interaction leaves out, or None if there is nothing to leave out."""
        if self.num_folds == 1:
            return None
        folds = folds_of_batch(self.num_folds) if folds is None else folds
        if folds is None and self.training and torch.is_grad_enabled():
            raise LeakError(
                "an assignment with folds was looked up in training without the folds of the batch: call the "
                "model within recbole_cel.embedding.cross_fitted(columns), or in evaluation mode"
            )
        if folds is not None and (entities is None or entities.shape[:1] != folds.shape):
            looked_up = "all ids" if entities is None else f"ids of shape {tuple(entities.shape)}"
            raise LeakError(
                f"{looked_up} were looked up for a batch of {len(folds)} interactions; with folds, the first "
                "dimension of ids must be that of the batch"
            )
        return folds

    def _positions(self, entities: Tensor | None, folds: Tensor | None) -> Tensor:
        """Where the clusters of ``entities`` ``(*)`` are in the flat buffer, shape ``(n,)``."""
        if entities is None:
            return all_ids(self.num_entities, self.clusters.device)
        check_ids(entities, self.num_entities)
        if folds is None:
            return entities.flatten().long()
        return (folds.view(-1, *[1] * (entities.dim() - 1)) * self.num_entities + entities).flatten()

    def _select(self, positions: Tensor, folds: Tensor | None) -> Tensor:
        # Selection by one flat index is several times faster than indexing.
        buffer = self.clusters if folds is None else self.held_out.view(-1)
        return buffer.index_select(0, positions)

    def _put(self, entities: Tensor, clusters: Tensor) -> None:
        clusters = clusters.to(self.clusters.dtype)
        everywhere = clusters if clusters.dim() == 1 else clusters[:, -1]
        self.clusters[entities] = everywhere
        if self.num_folds > 1:
            self.held_out[:, entities] = everywhere if clusters.dim() == 1 else clusters[:, :-1].T

    def validate(self, clusters: Tensor) -> None:
        """Check an assignment before it is taken over.

        Raises:
            ValueError: if its type differs, or any entity's cluster lies outside ``0 .. K - 1``.
        """
        if clusters.dtype != self.clusters.dtype:
            raise ValueError(f"the assignment is of type {clusters.dtype}, not {self.clusters.dtype}")
        if not clusters.numel():
            return
        low, high = int(clusters.min()), int(clusters.max())
        if low < 0 or high >= self.max_clusters:
            raise ValueError(
                f"the assignment names cluster {low if low < 0 else high}, "
                f"but clusters are 0..{self.max_clusters - 1}"
            )

    def extra_repr(self) -> str:
        """Sizes and storage type, for ``print(model)``."""
        sizes = f"num_entities={self.num_entities}, max_clusters={self.max_clusters}, num_folds={self.num_folds}"
        return f"{sizes}, dtype={self.clusters.dtype}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("clusters", "held_out"):
            if f"{prefix}{name}" in state_dict:
                self.validate(state_dict[f"{prefix}{name}"])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._count_members()

    def _count_members(self) -> None:
        self.members.copy_(self._count(self.clusters))
        without = sum((self._count(held_out) for held_out in self.held_out), start=torch.zeros_like(self.members))
        self.occupied.copy_(self.members + without > 0)

    def _count(self, clusters: Tensor) -> Tensor:
        total = torch.zeros_like(self.members)
        # int64 copies of a large assignment are made by blocks only.
        for block in clusters.split(BLOCK):
            total += torch.bincount(block.long(), minlength=self.max_clusters)
        return total


def clusters_of(
    assignments: Sequence[ClusterAssignment], entities: Tensor | None, folds: Tensor | None = None
) -> list[Tensor]:
    """Clusters of ``entities`` ``(*)``, n in all, in each of some assignments, integers of shape ``(n,)``.

    Arguments and errors as for the call of an assignment.
    """
    found, positions = list[Tensor](), dict[tuple[int, int], Tensor]()
    for assignment in assignments:
        left_out = assignment._left_out(entities, folds)
        # Levels of one field look up the same positions.
        key = assignment.num_entities, assignment.num_folds
        if key not in positions:
            positions[key] = assignment._positions(entities, left_out)
        found.append(assignment._select(positions[key], left_out))
    return found
