"""Give the clusters of two fields rows that differ along common directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...embedding.clustered import ClusteredEmbedding
from .directions import Directions

# The largest step of a row, where an output hardly depends on pairs as yet, as in a network at its start.
MAX_STEP = 1.0
# Clusters of a level at most that joint splits make. More patterns of signs would be more clusters than there are
# kinds of entities, and growth finds better ones once pairs are seen.
MAX_PATTERNS = 4


LevelSplit = tuple[int, Tensor, Tensor]
"""A level's number, and the ids of parents and children."""


class JointSplit(NamedTuple):
    """What a joint split did.

    Attributes:
        kept: number of directions that were given rows.
        splits: for each of the two fields, the levels that were split, with the ids of parents and children.
        moved: entities of both fields that changed a cluster.
    """

    kept: int
    splits: tuple[list[LevelSplit], list[LevelSplit]]
    moved: int


class Side(NamedTuple):
    """One field of a pair.

    Attributes:
        levels: for each level of the field's embedding, the tables that share the level's assignment.
        steps: shape ``(D, m)``, unit vectors by which rows may differ, the best first.
    """

    levels: Sequence[Sequence[ClusteredEmbedding]]
    steps: Tensor


@torch.no_grad()
def split_jointly(
    sides: tuple[Side, Side], found: Directions, strengths: Tensor, max_splits: int = 0
) -> JointSplit:
    """Split every cluster of a level of both fields in two, for one direction after the other.

    Each direction goes to the level of each field that has the fewest clusters, while :func:`has_room_to_split`.

    Args:
        sides: the two fields.
        found: directions.
        strengths: shape ``(m,)``, how much outputs rise if both rows move by one along the best pairs of steps.
        max_splits: clusters of a level that are split at most; 0 means as many as there are.
    """
    splits: tuple[list[LevelSplit], list[LevelSplit]] = [], []
    moved = [torch.zeros(len(signs), dtype=torch.bool, device=signs.device) for signs in (found.left, found.right)]
    places = [_places(side.levels, max_splits or MAX_PATTERNS, len(found.effect)) for side in sides]
    kept = min(len(strengths), *map(len, places))
    # Turned such that each step of a left row has one step of a right row that goes with it.
    one, effects, other = torch.linalg.svd(found.effect[:kept, :kept])
    lengths = (effects / strengths[:kept]).sqrt().clamp(max=MAX_STEP)
    for side, signs, turn, numbers, done, movers in zip(
        sides, (found.left, found.right), (one, other.T), places, splits, moved
    ):
        steps = (turn * lengths) @ side.steps[:, :kept].T
        for direction, number in enumerate(numbers[:kept]):
            parents, children, away = _split_level(side.levels[number], signs[:, :, direction], steps[direction])
            done.append((number, parents, children))
            movers |= away
    return JointSplit(kept, splits, int(sum(movers.sum() for movers in moved)))


def has_room_to_split(tables: Sequence[ClusteredEmbedding]) -> bool:
    """Whether all clusters of a level could be split in two by a joint split."""
    return 2 * tables[0].assignment.num_clusters <= _most(tables)


def _most(tables: Sequence[ClusteredEmbedding]) -> int:
    """Clusters that a level may have after joint splits."""
    return min(MAX_PATTERNS, tables[0].assignment.max_clusters)


def _places(levels: Sequence[Sequence[ClusteredEmbedding]], max_splits: int, directions: int) -> list[int]:
    """The level to split for each direction, while there is room: the first of those with the fewest clusters."""
    clusters = [tables[0].assignment.num_clusters for tables in levels]
    most = list(map(_most, levels))
    left = [max_splits] * len(levels)
    places = list[int]()
    for _ in range(directions):
        room = [n for n, have in enumerate(clusters) if 2 * have <= most[n] and have <= left[n]]
        if not room:
            break
        places.append(min(room, key=clusters.__getitem__))
        left[places[-1]] -= clusters[places[-1]]
        clusters[places[-1]] *= 2
    return places


def _split_level(
    tables: Sequence[ClusteredEmbedding], positive: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Split all clusters of a level by signs ``(N, F + 1)``.

    Returns:
        Ids of parents and children, and who moved, bool of shape ``(N,)``.
    """
    assignment = tables[0].assignment
    parents = assignment.occupied.nonzero().squeeze(1)
    children = (~assignment.occupied).nonzero().squeeze(1)[: len(parents)]
    # The larger part stays, and with it the entities of which nothing is known.
    if 2 * int(positive[:, -1].sum()) > len(positive):
        positive, step = ~positive, -step
    child_of = torch.zeros_like(assignment.members)
    child_of[parents] = children
    everyone = torch.arange(len(positive), device=positive.device)
    present = assignment.views(everyone)
    if present.shape[1] == 1:
        positive = positive[:, -1:]
    widths = [table.embedding_dim for table in tables]
    for table, part in zip(tables, step.split(widths)):
        table.weight[children] = table.weight[parents] + part
        table.weight[parents] -= part
    chosen = torch.where(positive, child_of[present], present)
    assignment.move(everyone, chosen if chosen.shape[1] > 1 else chosen.squeeze(1))
    return parents, children, positive[:, -1]
