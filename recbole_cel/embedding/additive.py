"""An embedding that is a sum of shared rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .clustered import ClusteredEmbedding


class AdditiveEmbedding(nn.Module):
    """The sum of several clustered embeddings of one entity, each with its own assignment.

    L levels of K rows can tell ``K ** L`` kinds of entities apart, where one level of ``L * K`` rows can tell
    ``L * K``. With one level it is that level.

    Args:
        levels: clustered embeddings of one shape. By custom the first starts at random, the others at zero.

    Shapes:
        ``(*)`` integer entity ids in, ``(*, d)`` out.

    Raises:
        ValueError: if there is no level, or their sizes differ.
    """

    def __init__(self, levels: Sequence[ClusteredEmbedding]) -> None:
        super().__init__()
        if len({(level.num_embeddings, level.embedding_dim) for level in levels}) != 1:
            sizes = ", ".join(f"{level.num_embeddings} x {level.embedding_dim}" for level in levels)
            raise ValueError(f"the levels must be of one size, got {sizes or 'no level'}")
        self.levels = nn.ModuleList(levels)
        self.num_embeddings = levels[0].num_embeddings
        self.embedding_dim = levels[0].embedding_dim

    def forward(self, entities: Tensor) -> Tensor:
        """Embeddings ``(*, d)`` of ``entities`` ``(*)``."""
        first, *others = self.levels
        rows: Tensor = first(entities)
        for level in others:
            rows = rows + level(entities)
        return rows


def levels_of(table: ClusteredEmbedding | AdditiveEmbedding) -> list[ClusteredEmbedding]:
    """The levels of a table, of which a plain clustered embedding has one."""
    if isinstance(table, ClusteredEmbedding):
        return [table]
    return [level for level in table.levels if isinstance(level, ClusteredEmbedding)]
