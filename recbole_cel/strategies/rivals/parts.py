"""What several rivals need: drawn parameters, and rows in parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def drawn(*shape: int, mean: float = 0.0, std: float = 1.0) -> nn.Parameter:
    """A parameter of normal numbers."""
    return nn.Parameter(torch.empty(shape).normal_(mean, std))


def drawn_parts(
    rows: Sequence[int], widths: Sequence[int], *, summands: int = 1, mean: float, std: float
) -> nn.ParameterList:
    """A table for each part; sums of so many ``summands`` of their rows have the given mean and deviation."""
    mean, std = mean / summands, std / math.sqrt(summands)
    return nn.ParameterList([drawn(number, width, mean=mean, std=std) for number, width in zip(rows, widths)])


def widths_of_parts(width: int, parts: int) -> list[int]:
    """A row cut into so many parts, as even as can be; never more than it has numbers."""
    parts = min(parts, width)
    return [(width + part) // parts for part in reversed(range(parts))]


def fused(rows: Sequence[Tensor], width: int) -> Tensor:
    """Parts as wide as the whole row ``(n, width)`` are added up, narrower ones put side by side."""
    if rows[0].shape[-1] < width:
        return torch.cat(list(rows), dim=-1)
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total
