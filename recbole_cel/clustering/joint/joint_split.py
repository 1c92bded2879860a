"""Give the clusters of two fields rows that differ along common directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    kept = 0
    splits: tuple[list[LevelSplit], list[LevelSplit]] = [], []
    splits_left = [dict.fromkeys(range(len(side.levels)), max_splits or MAX_PATTERNS) for side in sides]
    moved = [torch.zeros(len(signs), dtype=torch.bool, device=signs.device) for signs in (found.left, found.right)]
    for direction in range(min(len(found.effect), len(strengths))):
        numbers = [_roomiest(side.levels, left) for side, left in zip(sides, splits_left)]
        effect = float(found.effect[direction])
        if None in numbers or effect <= 0:
            break
        length = min(MAX_STEP, (effect / float(strengths[direction])) ** 0.5)
        of_sides = zip(numbers, sides, (found.left, found.right), splits, moved, splits_left)
        for number, side, signs, places, movers, left in of_sides:
            assert number is not None
            step = length * side.steps[:, direction]
            parents, children, away = _split_level(side.levels[number], signs[:, :, direction], step)
            places.append((number, parents, children))
            movers |= away
            left[number] -= len(children)
        kept += 1
    return JointSplit(kept, splits, int(sum(movers.sum() for movers in moved)))


def has_room_to_split(tables: Sequence[ClusteredEmbedding]) -> bool:
    """Whether all clusters of a level could be split in two by a joint split."""
    assignment = tables[0].assignment
    return 2 * assignment.num_clusters <= min(MAX_PATTERNS, assignment.max_clusters)


def _roomiest(levels: Sequence[Sequence[ClusteredEmbedding]], splits_left: Mapping[int, int]) -> int | None:
    """The first level with the fewest clusters of those that have room and splits left; None if there is none."""
    room = [
        (clusters, number)
        for number, tables in enumerate(levels)
        if has_room_to_split(tables) and (clusters := tables[0].assignment.num_clusters) <= splits_left[number]
    ]
    return min(room)[1] if room else None


def _split_level(
    tables: Sequence[ClusteredEmbedding], positive: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Split all clusters of a level by signs ``(N, F + 1)``.

    Returns:
        Ids of parents and children, and who moved, bool of shape ``(N,)``.
    """
    assignment = tables[0].assignment
    parents = (assignment.members > 0).nonzero().squeeze(1)
    children = (assignment.members == 0).nonzero().squeeze(1)[: len(parents)]
    # Entities of which nothing is known are on neither side; they stay with the larger part.
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
