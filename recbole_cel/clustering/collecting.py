"""When evidence is collected from the steps of training: in an epoch at whose end entities choose.

In the midst of an epoch many interactions have not been met yet, and an entity that has two would be placed by
one: so what is due there looks at all of them. Where clusters may change there, the epoch tells of two models that
are far from each other, which is not enough to split clusters by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..embedding.slots import Lookup
from ..evidence.objective import Objective
from ..evidence.probe import Seen
from ..evidence.training import Tables, TrainingEvidence
from .field import has_choice, with_room
from .policy import Levels
from .schedule import Schedule


class Collecting:
    """Starts at the beginning of an epoch, and forgets all at its end: so nothing of it is in a checkpoint.

    Args:
        objective: the training loss; one that cannot be watched gives no evidence.
        tables: of each entity field.
        levels: of each entity field.
        schedule: says what is due.
        steps_per_epoch: how long an epoch is.
    """

    def __init__(
        self,
        objective: Objective,
        tables: Mapping[str, Tables],
        levels: Mapping[str, Levels],
        schedule: Schedule,
        steps_per_epoch: int,
    ) -> None:
        self._objective = objective
        self._tables = tables
        self._levels = levels
        self._schedule = schedule
        self._steps_per_epoch = steps_per_epoch
        self._evidence: TrainingEvidence | None = None
        self._undisturbed = False

    def begin(self) -> None:
        """Begin anew, if an epoch begins."""
        if self._schedule.steps % self._steps_per_epoch == 0:
            self._evidence = None
            # What is to come is seen from the first batch on: until then, tables may be loaded from a file.
            self._objective.watch(self._meet_first)

    def _meet_first(self, interactions: Tensor, lookups: Sequence[Lookup], outputs: Tensor) -> None:
        number = len(self._objective.entities(next(iter(self._tables))))
        start, end = self._schedule.steps, self._schedule.steps + self._steps_per_epoch
        # Where an epoch is a single step, growth comes with every step.
        self._undisturbed = end > start + 1 and not any(map(self._acts, range(start + 1, end)))
        if not self._expects_choice(end) or not TrainingEvidence.fits(self._tables, number):
            self._objective.watch(None)
            return
        self._evidence = TrainingEvidence(self._objective, self._tables, number)
        self._objective.watch(self._evidence.meet)
        self._evidence.meet(interactions, lookups, outputs)

    def collect(self) -> None:
        """Keep what the step that was just made has told."""
        if self._evidence is not None:
            self._evidence.collect()

    def forget_epoch(self) -> None:
        """Forget what an epoch that is over has told: rows have changed since.

        What the first step of all told before fields were split jointly is little, and stays.
        """
        if self._schedule.steps % self._steps_per_epoch == 0:
            self._evidence = None

    def known(self, due: Sequence[tuple[str, bool]]) -> dict[str, Seen]:
        """What is known of the interactions of fields that are due, of which some may grow.

        It is of all interactions, or nothing.
        """
        if self._evidence is None or self._schedule.steps % self._steps_per_epoch:
            return {}
        if any(grows for _, grows in due) and not self._undisturbed:
            return {}
        self._evidence.gather()
        return {name: self._evidence.of(name) for name, _ in due} if self._evidence.complete else {}

    def _expects_choice(self, end: int) -> bool:
        """Whether entities are going to choose after so many steps, by what the epoch before tells."""
        return self._undisturbed if self._grows(end) else self._reassigns(end)

    def _acts(self, step: int) -> bool:
        """Whether clusters may change after so many steps, as far as is known now."""
        return self._grows(step) or self._reassigns(step)

    def _grows(self, step: int) -> bool:
        schedule = self._schedule
        return any(
            (schedule.retries_at if schedule.rests(name) else schedule.splits_at)(step) and with_room(levels)
            for name, levels in self._levels.items()
        )

    def _reassigns(self, step: int) -> bool:
        due = self._schedule.reassigns_at(step)
        return due and any(any(map(has_choice, levels)) for levels in self._levels.values())
