"""What an optimiser remembers of rows that are replaced."""

from __future__ import annotations

import torch
from torch import nn

SQUARES = {"exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"}


@torch.no_grad()
def renew_state(optimiser: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    """All rows of ``parameter`` are new: no direction is left, and of the steps' size what rows had on average.

    With squares of zero, Adam's first steps would be several times as long as its rate.
    """
    for name, value in optimiser.state.get(parameter, {}).items():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            value.copy_(value.flatten(0, -2).mean(dim=0).expand_as(value)) if name in SQUARES else value.zero_()


@torch.no_grad()
def clear_state(optimiser: torch.optim.Optimizer, parameter: nn.Parameter, where: torch.Tensor) -> None:
    """Nothing is remembered of the numbers of ``parameter`` at mask ``where``."""
    for value in optimiser.state.get(parameter, {}).values():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            value.masked_fill_(where, 0)
