"""Bytes of a field's tables, by part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn


class Storage(NamedTuple):
    """What the tables of a field take, in bytes.

    Attributes:
        rows: numbers that are trained.
        codes: what is stored for each id to find its rows, and is needed to serve.
        scalars: numbers that each id has of its own.
        training_codes: what is stored for each id while training only.
        optimiser: the optimiser's state.
    """

    rows: int
    codes: int = 0
    scalars: int = 0
    training_codes: int = 0
    optimiser: int = 0

    @property
    def serving(self) -> int:
        """All that is needed to look ids up."""
        return self.rows + self.codes + self.scalars

    @property
    def training(self) -> int:
        """All that is needed to train."""
        return self.serving + self.training_codes + self.optimiser


def parameter_bytes(tables: Iterable[nn.Module]) -> int:
    """Of all parameters, each once."""
    parameters = {parameter for table in tables for parameter in table.parameters()}
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def buffer_bytes(tables: Iterable[nn.Module]) -> int:
    """Of all buffers, each once."""
    buffers = {id(buffer): buffer for table in tables for buffer in table.buffers()}
    return sum(buffer.numel() * buffer.element_size() for buffer in buffers.values())


def optimiser_bytes(tables: Iterable[nn.Module], optimiser: torch.optim.Optimizer | None) -> int:
    """Of what ``optimiser`` keeps for all parameters."""
    states = optimiser.state if optimiser is not None else {}
    parameters = {parameter for table in tables for parameter in table.parameters()}
    return sum(
        value.numel() * value.element_size()
        for parameter in parameters
        for value in states.get(parameter, {}).values()
        if torch.is_tensor(value)
    )


def moments(tables: Iterable[nn.Module], optimiser: torch.optim.Optimizer | None) -> int:
    """How many numbers ``optimiser`` keeps for each number of a parameter."""
    states = optimiser.state if optimiser is not None else {}
    return max(
        (
            sum(torch.is_tensor(value) and value.shape == parameter.shape for value in states[parameter].values())
            for table in tables
            for parameter in table.parameters()
            if parameter in states
        ),
        default=0,
    )
