"""Which cluster each entity belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor, nn

from .folds import MAX_FOLDS, LeakError, folds_of_batch, once_a_batch
from .full import check_ids
from .looked_up import LookedUp
from .packed_codes import PackedCodes, smallest_integer_type


class ClusterAssignment(nn.Module):
    """The cluster of every entity of one field, in one level; several tables may share one assignment.

    Its codes are its own; the levels of a field share them instead if :func:`shared_assignments` makes them.

    Args:
        num_entities: number of entities N.
        max_clusters: largest number of clusters K; cluster ids are ``0 .. K - 1``.
        initial_clusters: number of clusters M0 at the start; entity ``e`` starts in cluster ``e % M0``.
        folds: number of folds F of the interactions, for cross-fitting (see ``folds.py``); 1 is none.

    Attributes:
        codes: the packed codes, of this and maybe of other levels.
        level: which of their levels this is.

    Raises:
        ValueError: if a size is not positive, or ``initial_clusters`` exceeds ``max_clusters``.
    """

    codes: PackedCodes

    def __init__(self, num_entities: int, max_clusters: int, initial_clusters: int = 1, folds: int = 1) -> None:
        _check_sizes(num_entities, max_clusters, initial_clusters, folds)
        self._be_level(PackedCodes(num_entities, [max_clusters], [initial_clusters], folds), 0)

    def _be_level(self, codes: PackedCodes, level: int) -> None:
        super().__init__()
        self.codes, self.level = codes, level

    def forward(self, entities: Tensor | None, folds: Tensor | None = None) -> Tensor:
        """Cluster ids (int64) of ``entities`` (any shape, any integer type), in the same shape; None is all.

        Args:
            entities: shape ``(B, ...)``, or ``(*)`` if nothing is left out.
            folds: shape ``(B,)``, the fold that each interaction leaves out; by default, that of the present
                batch (:func:`~.folds.cross_fitted`), or none.

        Raises:
            LeakError: in training, if there are folds, and none is left out.
        """
        clusters = self.codes.look_up_level(self.level, *_place([self], entities, folds))
        return clusters if entities is None else clusters.view(entities.shape)

    def clusters(self) -> Tensor:
        """What is assigned to every entity, unpacked: shape ``(N,)``, of type :attr:`dtype`."""
        return self.codes.unpacked(self.level)

    def clusters_at(self, entities: Tensor) -> Tensor:
        """What is assigned to ``entities`` ``(E,)``, int64 of the same shape."""
        return self.codes.look_up_level(self.level, entities)

    def views(self, entities: Tensor) -> Tensor:
        """All that is assigned to ``entities`` ``(E,)``, int64: without each fold, and last with all.

        Shape ``(E, F + 1)``, or ``(E, 1)`` with one fold.
        """
        return self.codes.views(self.level, entities)

    @property
    def num_entities(self) -> int:
        """Number of entities N."""
        return self.codes.num_entities

    @property
    def num_folds(self) -> int:
        """Number of folds F."""
        return self.codes.num_folds

    @property
    def max_clusters(self) -> int:
        """Largest number of clusters K."""
        return self.codes.sizes[self.level]

    @property
    def dtype(self) -> torch.dtype:
        """The smallest integer type that holds K values."""
        return smallest_integer_type(self.max_clusters)

    @property
    def members(self) -> Tensor:
        """Number of entities in each cluster, int64 of shape ``(K,)``."""
        return self.codes.members[self.codes.part(self.level)]

    @property
    def occupied(self) -> Tensor:
        """Clusters that anybody has, with all interactions or without some fold, bool of shape ``(K,)``.

        The others are free to be given away.
        """
        return self.codes.occupied[self.codes.part(self.level)]

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
            self.codes.put(self.level, entities, clusters)
        if others is not None:
            self.codes.fill(self.level, *others)
        self.codes.count(self.level)

    @contextmanager
    def provisionally(self, entities: Tensor, clusters: Tensor) -> Iterator[None]:
        """Look ``entities`` up in ``clusters`` within the block, then put everything back."""
        before = self.views(entities)
        self.codes.put(self.level, entities, clusters)
        try:
            yield
        finally:
            self.codes.put(self.level, entities, before)

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return f"level={self.level}, max_clusters={self.max_clusters}, num_folds={self.num_folds}"


def shared_assignments(
    num_entities: int, sizes: Sequence[int], starts: Sequence[int], folds: int = 1
) -> list[ClusterAssignment]:
    """The assignments of all levels of a field, whose codes are packed and looked up together.

    Args:
        num_entities: number of entities N.
        sizes: the largest number of clusters of each level.
        starts: the number of clusters of each level at the start.
        folds: number of folds F of the interactions.

    Raises:
        ValueError: if there is no level, or for the reasons of :class:`ClusterAssignment`.
    """
    if not sizes or len(sizes) != len(starts):
        raise ValueError(f"levels need a size and a start each, got {len(sizes)} sizes and {len(starts)} starts")
    for size, start in zip(sizes, starts):
        _check_sizes(num_entities, size, start, folds)
    codes, made = PackedCodes(num_entities, sizes, starts, folds), list[ClusterAssignment]()
    for level in range(len(sizes)):
        made.append(ClusterAssignment.__new__(ClusterAssignment))
        made[-1]._be_level(codes, level)
    return made


def extend_ids(assignments: Sequence[ClusterAssignment], num_entities: int, like: int) -> None:
    """Make room for ids up to ``num_entities - 1``; new ones start in the clusters of entity ``like``.

    An entity without interactions is a good model of them. Own rows of tables are not extended.

    Args:
        assignments: all levels of a field.
        num_entities: number of entities from now on.
        like: which entity the new ones are like.

    Raises:
        ValueError: if there are more ids already, or ``like`` is none of them; nothing is extended then.
    """
    codes = list(dict.fromkeys(assignment.codes for assignment in assignments))
    for one in codes:
        if num_entities < one.num_entities or not 0 <= like < one.num_entities:
            raise ValueError(
                f"{one.num_entities} ids cannot become {num_entities}, of which the new ones are like id {like}"
            )
    for one in codes:
        one.extend(num_entities, like)


def look_up_levels(
    assignments: Sequence[ClusterAssignment], entities: Tensor | None, folds: Tensor | None = None
) -> LookedUp:
    """Look ``entities`` ``(*)`` up in several assignments; arguments and errors as for the call of one."""
    if entities is None or folds is not None:
        return _look_up_levels(assignments, entities, folds)
    # Codes that change count as others.
    versions = [codes.version for codes in dict.fromkeys([one.codes for one in assignments])]
    return once_a_batch((*assignments, *versions), entities, lambda: _look_up_levels(assignments, entities, None))


def _look_up_levels(
    assignments: Sequence[ClusterAssignment], entities: Tensor | None, folds: Tensor | None
) -> LookedUp:
    parts = list[tuple[PackedCodes, Tensor, slice]]()
    for codes, group in groupby(assignments, key=attrgetter("codes")):
        levels = list(group)
        words = codes.look_up(*_place(levels, entities, folds))
        numbers = [assignment.level for assignment in levels]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            parts.append((codes, words, slice(numbers[0], numbers[-1] + 1)))
        else:
            parts += [(codes, words, slice(number, number + 1)) for number in numbers]
    return LookedUp(parts)


def _place(
    levels: Sequence[ClusterAssignment], entities: Tensor | None, folds: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Ids ``(n,)``, and the view ``(n,)`` to look each up in; None is all ids, and the last view."""
    left_out = _left_out(levels, entities, folds)
    if entities is None:
        return None, None
    check_ids(entities, levels[0].num_entities)
    if left_out is not None and entities.dim() > 1:
        left_out = left_out.view(-1, *[1] * (entities.dim() - 1)).expand(entities.shape).flatten()
    return entities.flatten().long(), left_out


def _left_out(levels: Sequence[ClusterAssignment], entities: Tensor | None, folds: Tensor | None) -> Tensor | None:
    """The fold that each interaction leaves out, or None if there is nothing to leave out."""
    number = levels[0].num_folds
    if number == 1:
        return None
    folds = folds_of_batch(number) if folds is None else folds
    if folds is None and torch.is_grad_enabled() and any(level.training for level in levels):
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


def _check_sizes(num_entities: int, max_clusters: int, initial_clusters: int, folds: int) -> None:
    if num_entities < 1 or max_clusters < 1:
        raise ValueError(
            f"an assignment needs at least one entity and one cluster, got num_entities={num_entities}, "
            f"max_clusters={max_clusters}"
        )
    if not 1 <= initial_clusters <= max_clusters:
        raise ValueError(f"initial_clusters must lie in 1..{max_clusters}, got {initial_clusters}")
    if not 1 <= folds <= MAX_FOLDS:
        raise ValueError(f"folds must lie in 1..{MAX_FOLDS}, got {folds}")
