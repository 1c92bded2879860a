"""What happens to an optimiser's memory of a row when its cluster is split."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def copy_row_state(
    optimiser: torch.optim.Optimizer, parameter: nn.Parameter, parents: Tensor, children: Tensor
) -> None:
    """Let the children's rows continue with the state of their parents' rows.

    The rule holds for every optimiser that keeps, for a parameter, tensors of the parameter's own shape (moments
    of Adam and its kin, momentum of SGD, sums of Adagrad, averages of RMSprop): row ``children[i]`` takes over
    a copy of row ``parents[i]``. Step counts are shared by all rows and stay.
    """
    for value in optimiser.state.get(parameter, {}).values():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            value[children] = value[parents]
