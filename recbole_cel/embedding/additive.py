"""An embedding that is a sum of shared rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .assignment import look_up_levels
from .clustered import ClusteredEmbedding
from .looked_up import LookedUp
from .slots import watch


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
    found = [
        look_up_levels([level.assignment for level in levels], ids, folds)
        for levels, ids in zip(plain, entities)
        if levels
    ]
    weights = [level.weight for levels in plain for level in levels]
    if len(weights) == sum(map(len, every)):
        rows: Tensor = _SumsOfRows.apply(found, *weights)
        watch(tables, entities, rows)
        return rows
    sums = iter(_SumsOfRows.apply(found, *weights).unbind(dim=1) if weights else ())
    parts = list[Tensor]()
    for levels, ids in zip(every, entities):
        number = levels[0].num_embeddings if ids is None else ids.numel()
        zero = levels[0].weight.new_zeros(number, tables[0].embedding_dim)
        others = sum((level(ids, folds).view_as(zero) for level in levels if not level.is_plain), start=zero)
        parts.append(next(sums) + others if any(level.is_plain for level in levels) else others)
    return torch.stack(parts, dim=1)


def levels_of(table: ClusteredEmbedding | AdditiveEmbedding) -> list[ClusteredEmbedding]:
    """The levels of a table, of which a plain clustered embedding has one."""
    if isinstance(table, ClusteredEmbedding):
        return [table]
    return [level for level in table.levels if isinstance(level, ClusteredEmbedding)]


@cache
def _starts(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Where tables of these sizes start if one follows the other, int32 of shape ``(L,)``."""
    return torch.tensor([0, *sizes[:-1]], device=device).cumsum(0, dtype=torch.int32)


@lru_cache(maxsize=4)
def _bags(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Where sums of rows ``(B, L)`` start if their rows follow each other, int32 of shape ``(n * B,)``."""
    sizes = torch.cat([torch.full((number,), levels, device=device) for number, levels in shapes])
    return (sizes.cumsum(0) - sizes).int()


def _all_at_once(rows: Tensor) -> bool:
    """Whether gradients are added to all tables in one go: faster for numbers, and on GPUs, which start slowly."""
    return rows.shape[1] == 1 or rows.is_cuda


class _SumsOfRows(torch.autograd.Function):
    """Sums of one row of each of some tables: several times faster than selections, above all backward."""

    @staticmethod
    def forward(ctx: Any, found: list[LookedUp], *weights: Tensor) -> Tensor:
        """Each of n sums is over some of the tables ``(K, d)``, one sum after the other; shape ``(B, n, d)``."""
        clusters = [of_sum.by_id() for of_sum in found]
        ctx.found, ctx.sizes = found, tuple([weight.shape[0] for weight in weights])
        starts = _starts(ctx.sizes, weights[0].device).split([one.shape[1] for one in clusters])
        rows = torch.cat([(of_sum.int() + start).flatten() for of_sum, start in zip(clusters, starts)])
        bags = _bags(tuple([of_sum.shape for of_sum in clusters]), rows.device)
        if _all_at_once(weights[0]):
            ctx.save_for_backward(rows)
        summed = F.embedding_bag(rows, torch.cat(weights), bags, mode="sum")
        return summed.view(len(found), -1, summed.shape[1]).transpose(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_sums = [of_sum.contiguous() for of_sum in gradient.unbind(dim=1)]
        total = gradient.new_zeros(sum(ctx.sizes), gradient.shape[2])
        totals = total.split(ctx.sizes)
        if _all_at_once(total):
            (rows,) = ctx.saved_tensors
            every = [of_sum.unsqueeze(1).expand(-1, one.levels, -1) for of_sum, one in zip(of_sums, ctx.found)]
            added = torch.cat([of_sum.flatten(0, 1) for of_sum in every])
            if added.shape[1] == 1:
                total.squeeze(1).index_add_(0, rows, added.squeeze(1))
            else:
                total.index_add_(0, rows, added)
            return (None, *totals)
        of_tables = [
            (of_sum, chosen) for of_sum, one in zip(of_sums, ctx.found) for chosen in one.by_level().unbind()
        ]
        for of_table, (of_sum, chosen) in zip(totals, of_tables):
            of_table.index_add_(0, chosen, of_sum)
        return (None, *totals)
