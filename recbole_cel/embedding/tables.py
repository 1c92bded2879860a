"""Clustered tables as they are best made: some levels, of which only the first starts at random."""

from __future__ import annotations

from collections.abc import Sequence

from .additive import AdditiveEmbedding
from .assignment import ClusterAssignment, shared_assignments
from .clustered import ClusteredEmbedding


def clustered_tables(
    num_embeddings: int,
    widths: Sequence[int],
    *,
    rows: int,
    levels: int = 8,
    folds: int = 4,
    initial_clusters: int = 1,
    std: float = 0.01,
) -> list[AdditiveEmbedding]:
    """The tables of one field, which share its assignments: rows and biases of users, for instance.

    Args:
        num_embeddings: number of entities N.
        widths: size of a row of each table.
        rows: largest number of shared rows of a table, in all its levels.
        levels: how many rows are summed for an entity, each of an own assignment.
        folds: number of folds of the interactions; 1 is without cross-fitting.
        initial_clusters: clusters of the first level at the start; the others start with one.
        std: standard deviation of the rows at the start.

    Raises:
        ValueError: if a size is not positive, or ``levels`` or ``initial_clusters`` need more rows.

    Example:
        >>> users, user_biases = clustered_tables(1000, [16, 1], rows=64)
        >>> with cross_fitted([torch.tensor([3, 7])]):  # ids of the interactions of a batch
        ...     users(torch.tensor([3, 7])).shape
        torch.Size([2, 16])
    """
    if min(widths, default=1) < 1:
        raise ValueError(f"widths must be at least 1, got {list(widths)}")
    assignments = level_assignments(num_embeddings, rows, levels, folds, initial_clusters)
    return [AdditiveEmbedding(level_tables(assignments, width, std=std)) for width in widths]


def level_assignments(
    num_entities: int, rows: int, levels: int, folds: int = 1, initial_clusters: int = 1
) -> list[ClusterAssignment]:
    """Assignments of so many levels, which the ``rows`` are shared out among.

    Raises:
        ValueError: if a size is not positive, or ``levels`` or ``initial_clusters`` need more rows.
    """
    if not 1 <= levels <= rows:
        raise ValueError(f"levels must be at least 1 and at most as many as rows, {rows}; got {levels}")
    shares = [(rows + level) // levels for level in reversed(range(levels))]
    # Only the first may start from several clusters: ids modulo a number tell no more a second time.
    starts = [initial_clusters] + [1] * (levels - 1)
    return shared_assignments(num_entities, shares, starts, folds)


def level_tables(
    assignments: Sequence[ClusterAssignment],
    embedding_dim: int,
    *,
    mean: float = 0.0,
    std: float = 0.01,
    gradient_averaging: bool = False,
    personalisation: bool = False,
) -> list[ClusteredEmbedding]:
    """A table for each of some assignments; the first starts at random and may have own rows, others at zero."""
    return [
        ClusteredEmbedding(
            assignment,
            embedding_dim,
            mean=0.0 if level else mean,
            std=0.0 if level else std,
            gradient_averaging=gradient_averaging,
            personalisation=personalisation and level == 0,
        )
        for level, assignment in enumerate(assignments)
    ]
