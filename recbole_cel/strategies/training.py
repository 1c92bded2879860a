"""What a strategy may do while its tables are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..clustering.event import Progress
from ..evidence import Objective


class TrainingEvent(Protocol):
    """What a hook tells of what it did; its text is logged."""

    @property
    def step(self) -> int:
        """Optimiser steps done before."""

    def scalars(self) -> dict[str, float]:
        """Numbers for a plot, by name."""


class TrainingHook(Protocol):
    """Called after each optimiser step; its state is saved with the model, as plain data and tensors."""

    @property
    def settled(self) -> bool:
        """Whether the tables are now within their budget; epochs before that cannot be the best."""

    def step(self) -> Any:
        """Do what is due."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


@dataclass(frozen=True)
class Training:
    """What a hook has to work with.

    Attributes:
        objective: makes the training loss, interaction by interaction; an error for losses that do not fall apart.
        optimiser: of all parameters.
        pairs: for a field, its id in every training interaction and that of the item (for the item, of the user),
            int64 of shape ``(n,)`` each, on the CPU; where negatives are drawn, these are the positives.
        steps_per_epoch: optimiser steps in an epoch.
        seed: of chance.
        on_event: to be called with each event.
        progress: shows how far an event has come.
    """

    objective: Callable[[], Objective]
    optimiser: torch.optim.Optimizer
    pairs: Callable[[str], tuple[Tensor, Tensor]]
    steps_per_epoch: int
    seed: int
    on_event: Callable[[TrainingEvent], None]
    progress: Progress
