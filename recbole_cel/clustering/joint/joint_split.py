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


class JointSplit(NamedTuple):
    """What a joint split did.

    Attributes:
        kept: number of directions that were given rows.
        splits: for each of the two fields, the levels that were split, with the ids of parents and children.
        moved: entities of both fields that changed a cluster.
    """

    kept: int
    splits: tuple[list[tuple[int, Tensor, Tensor]], list[tuple[int, Tensor, Tensor]]]
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
def split_jointly(sides: tuple[Side, Side], found: Directions, strengths: Tensor) -> JointSplit:
    """Split every cluster of a level of both fields in two, for one direction after the other.

    Each direction goes to the level of each field that has the fewest clusters, while twice as many fit into it.

    Args:
        sides: the two fields.
        found: directions.
        strengths: shape ``(m,)``, how much outputs rise if both rows move by one along the best pairs of steps.
    """
    kept, splits = 0, ([], [])
    moved = [torch.zeros(len(signs), dtype=torch.bool, device=signs.device) for signs in (found.left, found.right)]
    for direction in range(min(len(found.effect), len(strengths))):
        numbers = [_roomiest(side.levels) for side in sides]
        effect = float(found.effect[direction])
        if None in numbers or effect <= 0:
            break
        length = min(MAX_STEP, (effect / float(strengths[direction])) ** 0.5)
        for number, side, signs, places, movers in zip(numbers, sides, (found.left, found.right), splits, moved):
            assert number is not None
            step = length * side.steps[:, direction]
            parents, children, away = _split_level(side.levels[number], signs[:, :, direction], step)
            places.append((number, parents, children))
            movers |= away
        kept += 1
    return JointSplit(kept, splits, int(sum(movers.sum() for movers in moved)))


def _roomiest(levels: Sequence[Sequence[ClusteredEmbedding]]) -> int | None:
    """The level with the fewest clusters of which each can be split in two, the first of these; None if none can."""
    assignments = [tables[0].assignment for tables in levels]
    room = [
        (assignment.num_clusters, number)
        for number, assignment in enumerate(assignments)
        if 2 * assignment.num_clusters <= assignment.max_clusters
    ]
    return min(room)[1] if room else None


def _split_level(
    tables: Sequence[ClusteredEmbedding], positive: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Split all clusters of a level by signs ``(N, F + 1)``; ids of parents and children, and who moved ``(N,)``."""
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
