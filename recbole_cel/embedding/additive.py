"""An embedding that is a sum of shared rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .assignment import clusters_of
from .clustered import ClusteredEmbedding


class AdditiveEmbedding(nn.Module):
    """The sum of several clustered embeddings of one entity, each with its own assignment.

    L levels of K rows can tell ``K ** L`` kinds of entities apart, where one level of ``L * K`` rows can tell
    ``L * K``. With one level it is that level.

    Args:
        levels: clustered embeddings of one shape. By custom the first starts at random, the others at zero.

    Shapes:
        ``(*)`` integer entity ids in, ``(*, d)`` out; None in, ``(N, d)`` out.

    Raises:
        ValueError: if there is no level, or their sizes differ.
    """

    def __init__(self, levels: Sequence[ClusteredEmbedding]) -> None:
        super().__init__()
        if len({(level.num_embeddings, level.embedding_dim) for level in levels}) != 1:
            sizes = ", ".join(f"{level.num_embeddings} x {level.embedding_dim}" for level in levels)
            raise ValueError(f"the levels must be of one size, got {sizes or 'no level'}")
        self.levels = nn.ModuleList(levels)
        self.embedding_dim = levels[0].embedding_dim

    @property
    def num_embeddings(self) -> int:
        """Number of entities N."""
        return levels_of(self)[0].num_embeddings

    def forward(self, entities: Tensor | None, folds: Tensor | None = None) -> Tensor:
        """Embeddings ``(*, d)`` of ``entities`` ``(*)``, or all of them; ``folds`` as for the assignments."""
        number = (self.num_embeddings,) if entities is None else entities.shape
        return look_up([self], [entities], folds).view(*number, self.embedding_dim)


def look_up(
    tables: Sequence[AdditiveEmbedding], entities: Sequence[Tensor | None], folds: Tensor | None = None
) -> Tensor:
    """What each of n tables of one width d holds for its ``entities`` ``(*)``, B in all, shape ``(B, n, d)``."""
    every = [levels_of(table) for table in tables]
    plain = [[level for level in levels if level.is_plain] for levels in every]
    clusters, weights = list[Tensor](), list[Tensor]()
    for levels, ids in zip(plain, entities):
        if levels:
            clusters.append(clusters_of([level.assignment for level in levels], ids, folds))
            weights += [level.weight for level in levels]
    rows: Tensor = every[0][0].weight.new_zeros(())
    if weights:
        together = clusters[0] if len(clusters) == 1 else torch.cat(clusters, dim=1)
        rows = _SumsOfRows.apply(list(map(len, plain)), together, *weights)
    if len(weights) < sum(map(len, every)):
        others = list[Tensor]()
        for levels, ids in zip(every, entities):
            number = levels[0].num_embeddings if ids is None else ids.numel()
            zero = rows.new_zeros(number, tables[0].embedding_dim)
            others.append(
                sum((level(ids, folds).view_as(zero) for level in levels if not level.is_plain), start=zero)
            )
        rows = rows + torch.stack(others, dim=1)
    return rows


def levels_of(table: ClusteredEmbedding | AdditiveEmbedding) -> list[ClusteredEmbedding]:
    """The levels of a table, of which a plain clustered embedding has one."""
    if isinstance(table, ClusteredEmbedding):
        return [table]
    return [level for level in table.levels if isinstance(level, ClusteredEmbedding)]


@cache
def _starts(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Where tables of these sizes start if one follows the other, int64 of shape ``(L,)``."""
    return torch.tensor([0, *sizes[:-1]], device=device).cumsum(0)


class _SumsOfRows(torch.autograd.Function):
    """Sums of one row of each of some tables: several times faster than selections, above all backward."""

    @staticmethod
    def forward(ctx: Any, counts: list[int], clusters: Tensor, *weights: Tensor) -> Tensor:
        """For each of n sums over so many tables ``(K_l, d)``, shape ``(B, n, d)``.

        Clusters are of shape ``(B, L)``, one for each of the L tables.
        """
        ctx.save_for_backward(clusters)
        ctx.counts, ctx.sizes = counts, tuple(map(len, weights))
        rows = clusters + _starts(ctx.sizes, clusters.device)
        each = torch.arange(0, rows.numel(), rows.shape[1], device=rows.device)
        bags = (each.unsqueeze(1) + _starts(tuple(counts), rows.device)).flatten()
        summed = F.embedding_bag(rows.flatten(), torch.cat(weights), bags, mode="sum")
        return summed.view(len(rows), len(counts), summed.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (clusters,) = ctx.saved_tensors
        of_sums = [of_sum.contiguous() for of_sum in gradient.unbind(dim=1)]
        of_levels = [of_sum for of_sum, count in zip(of_sums, ctx.counts) for _ in range(count)]
        if gradient.shape[2] == 1:
            # One addition of numbers is faster than many of rows.
            chosen = clusters.T + _starts(ctx.sizes, clusters.device).unsqueeze(1)
            numbers = gradient.new_zeros(sum(ctx.sizes)).index_add_(
                0, chosen.flatten(), torch.cat(of_levels).squeeze(1)
            )
            return (None, None, *numbers.unsqueeze(1).split(ctx.sizes))
        totals = gradient.new_zeros(sum(ctx.sizes), gradient.shape[2]).split(ctx.sizes)
        for total, chosen, of_level in zip(totals, clusters.unbind(dim=1), of_levels):
            total.index_add_(0, chosen, of_level)
        return (None, None, *totals)
