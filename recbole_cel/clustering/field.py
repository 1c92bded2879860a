"""The levels of a field, as the tables that share each level's assignment."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..embedding.additive import AdditiveEmbedding, levels_of
from ..embedding.clustered import ClusteredEmbedding

# Levels that grow for the first time in one event, as a share of all.
SHARE_GROWN = 0.25


def by_level(
    field: str, tables: Sequence[ClusteredEmbedding | AdditiveEmbedding]
) -> list[list[ClusteredEmbedding]]:
    """For each level of the field's tables, the tables that share the level's assignment."""
    split = [levels_of(table) for table in tables]
    if len({len(levels) for levels in split}) != 1 or any(
        level.assignment is not first.assignment for levels in split for level, first in zip(levels, split[0])
    ):
        raise ValueError(f"the tables of field {field} must share one ClusterAssignment object for each level")
    return [list(level) for level in zip(*split)]


def has_choice(tables: Sequence[ClusteredEmbedding]) -> bool:
    """Whether a level has several clusters."""
    return tables[0].assignment.num_clusters > 1


def has_free_cluster(tables: Sequence[ClusteredEmbedding]) -> bool:
    """Whether a level may have more clusters."""
    return tables[0].assignment.num_clusters < tables[0].assignment.max_clusters


def num_clusters(levels: Sequence[Sequence[ClusteredEmbedding]]) -> int:
    """Clusters with members, in all levels."""
    return sum(tables[0].assignment.num_clusters for tables in levels)


def with_room(levels: Sequence[list[ClusteredEmbedding]]) -> list[list[ClusteredEmbedding]]:
    """The levels that may have more clusters."""
    return list(filter(has_free_cluster, levels))


def grown_next(levels: Sequence[list[ClusteredEmbedding]], growths: int) -> list[int]:
    """Numbers of the levels to grow next, after so many ``growths``: a quarter of them more each time.

    What a level leaves for the others to tell is clearer once its rows have been trained.
    """
    some = math.ceil(SHARE_GROWN * len(levels)) * (growths + 1)
    return [number for number, tables in enumerate(levels) if has_free_cluster(tables)][:some]
