"""All entities are reassigned out of fold, and levels are grown in passing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...evidence.objective import Objective
from ...evidence.probe import Probe, probe_everything
from ..field import grown_next
from ..policy import Change, Levels, Policy, Task
from ..settings import ClusterSettings
from .reassignment import reassign_cross_fitted

# A probe that several fields share: numbers in it, and interactions in one pass through the model.
MAX_PROBED = 1 << 26
MAX_INTERACTIONS = 1 << 14


class CrossFittedPolicy(Policy):
    """What an interaction is trained with is decided without it, and whoever splits reassigns as well."""

    tests_splits = True

    def __init__(self, objective: Objective, settings: ClusterSettings) -> None:
        super().__init__(objective, settings)
        self._seen: dict[str, Probe] = {}

    def order(
        self, fields: Iterable[str], growing: Sequence[str], reassigned: Sequence[str]
    ) -> list[tuple[str, bool]]:
        """One field after the other, each once."""
        return [(name, name in growing) for name in fields if name in growing or name in reassigned]

    def observe(self, fields: Mapping[str, Levels], number: int) -> None:
        """Probe all interactions for several fields at once, if that is small."""
        self._seen = {}
        tables = {name: levels[0] for name, levels in fields.items()}
        width = sum(table.embedding_dim for of_field in tables.values() for table in of_field)
        if len(fields) > 1 and number * width <= MAX_PROBED:
            self._seen = probe_everything(self.objective, tables, number, MAX_INTERACTIONS)

    def change(self, task: Task) -> Change:
        """Reassign a field, and grow some of its levels if it grows."""
        done = reassign_cross_fitted(
            self.objective,
            task.levels,
            task.index,
            self.settings,
            task.generator,
            growing=grown_next(task.levels, task.growths) if task.grows else [],
            settle=task.unsettled,
            merging=task.rests,
            keep=task.keep,
            seen_before=self._seen.pop(task.field, None),
            advance=task.advance,
        )
        # What the probe says of the outputs of the fields that follow changes with this one, to first order.
        for name, seen in self._seen.items():
            if done.change is not None:
                self._seen[name] = seen._replace(outputs=seen.outputs + done.change)
        return done
