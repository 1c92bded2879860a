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

    def begin(self) -> None:
        """Begin anew, if an epoch begins."""
        if self._schedule.steps % self._steps_per_epoch == 0:
            self._evidence = None
            # What is to come is seen from the first batch on: until then, tables may be loaded from a file.
            self._objective.watch(self._meet_first)

    def _meet_first(self, interactions: Tensor, lookups: Sequence[Lookup], outputs: Tensor) -> None:
        number = len(self._objective.entities(next(iter(self._tables))))
        if not self._expects_choice or not TrainingEvidence.fits(self._tables, number):
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
        if any(grows for _, grows in due) and not self._undisturbed(self._schedule.steps):
            return {}
        self._evidence.gather()
        return {name: self._evidence.of(name) for name, _ in due} if self._evidence.complete else {}

    @property
    def _expects_choice(self) -> bool:
        """Whether entities are going to choose at the end of this epoch, by what it tells."""
        schedule, end = self._schedule, self._schedule.steps + self._steps_per_epoch
        growing = [name for name, levels in self._levels.items() if with_room(levels)]
        if any((schedule.retries_at if schedule.rests(name) else schedule.splits_at)(end) for name in growing):
            return self._undisturbed(end)
        return schedule.reassigns_at(end) and any(any(map(has_choice, one)) for one in self._levels.values())

    def _undisturbed(self, end: int) -> bool:
        """Whether no growth or reassignment comes within the epoch that ends after so many steps."""
        steps = range(end - self._steps_per_epoch + 1, end)
        # Where an epoch is a single step, growth comes with every step.
        return len(steps) > 0 and not any(map(self._schedule.acts_at, steps))
