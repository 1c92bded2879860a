"""What hooks of rivals have in common: they act every so many steps, and tell of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...options import MAX_COUNT
from ..base import EmbeddingStrategy
from ..training import Training

Strategy = TypeVar("Strategy", bound=EmbeddingStrategy[Any])
# Of a number of intervals.
ROUNDING = 1e-9


@dataclass(frozen=True)
class RivalEvent:
    """What was done to the tables of a field.

    Attributes:
        what: in a word or two.
        field: name of the field.
        step: optimiser steps done before.
        numbers: to tell of, and to plot, by name.
    """

    what: str
    field: str
    step: int
    numbers: dict[str, float]

    def scalars(self) -> dict[str, float]:
        """Numbers for a plot, by ``Clusters/<field>/<what>/<name>``."""
        return {f"Clusters/{self.field}/{self.what}/{name}": value for name, value in self.numbers.items()}

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:g}" for name, value in self.numbers.items())
        return f"{self.field} {self.what} at step {self.step}: {numbers}"


def in_steps(epochs: float, training: Training) -> float:
    """So many epochs in optimiser steps, which need not be whole; no more than a run could do."""
    return min(MAX_COUNT, epochs * training.steps_per_epoch)


class ActingHook(ABC, Generic[Strategy]):
    """Counts optimiser steps, and acts on each field after every so many of them.

    Args:
        strategies: of each field.
        training: what there is to work with.
        interval: epochs from one act to the next.
        times: how often it acts; None is without end.
        start: epochs before the first interval.

    Attributes:
        steps: optimiser steps counted so far.
    """

    def __init__(
        self,
        strategies: Mapping[str, Strategy],
        training: Training,
        interval: float,
        times: int | None = None,
        start: float = 0.0,
    ) -> None:
        self.strategies = strategies
        self.training = training
        self._interval, self._start = (in_steps(epochs, training) for epochs in (interval, start))
        self.times = times
        self.steps = 0

    @property
    def acts(self) -> int:
        """How often it has acted so far."""
        # Several acts may be due at one step.
        done = max(0, int((self.steps - self._start) / self._interval + ROUNDING))
        return done if self.times is None else min(done, self.times)

    @property
    def settled(self) -> bool:
        """Whether the tables are within their budget."""
        return True

    @property
    def seed(self) -> int:
        """Of what is drawn at this step; a resumed run draws what the first one drew."""
        return self.training.seed + self.steps

    def step(self) -> None:
        """Count one optimiser step, and act if it is time."""
        before = self.acts
        self.steps += 1
        if self.acts == before:
            return
        for name, strategy in self.strategies.items():
            numbers = self.act(name, strategy)
            self.training.on_event(RivalEvent(self.what, name, self.steps, numbers))

    @property
    @abstractmethod
    def what(self) -> str:
        """What it does, in a word or two."""

    @abstractmethod
    def act(self, name: str, strategy: Strategy) -> dict[str, float]:
        """Do it for one field; returns numbers to tell of."""

    def state_dict(self) -> dict[str, Any]:
        """The steps counted; what was done is in the tables' own state."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: if it is no such state.
        """
        steps = state["steps"]
        if set(state) != {"steps"} or type(steps) is not int or not 0 <= steps <= MAX_COUNT:
            raise ValueError("it must be a number of steps")
        self.steps = steps
