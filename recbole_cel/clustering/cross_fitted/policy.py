"""All entities are reassigned out of fold, and levels are grown in passing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from ...evidence.bounds import at_once
from ...evidence.objective import Objective
from ...evidence.probe import Seen, probe_everything
from ..field import grown_next
from ..policy import Change, Levels, Policy, Task
from ..settings import ClusterSettings
from .reassignment import choose_cross_fitted

# Bounds of memory: numbers in a probe that several fields share, and interactions in one pass through the model.
MAX_PROBED = 1 << 26
MAX_INTERACTIONS = 1 << 14


class CrossFittedPolicy(Policy):
    """What an interaction is trained with is decided without it, and whoever splits reassigns as well."""

    tests_splits = True
    takes_evidence = True

    def __init__(self, objective: Objective, settings: ClusterSettings) -> None:
        super().__init__(objective, settings)
        self._seen: dict[str, Seen] = {}
        self._change: Tensor | None = None

    def rounds(
        self, fields: Iterable[str], growing: Sequence[str], reassigned: Sequence[str]
    ) -> list[list[tuple[str, bool]]]:
        """All fields in one, each once."""
        due = [(name, name in growing) for name in fields if name in growing or name in reassigned]
        return [due] if due else []

    def observe(self, fields: Mapping[str, Levels], number: int, known: Mapping[str, Seen]) -> None:
        """Probe all interactions for all fields in one pass, if that is small; otherwise each field does it."""
        self._seen, self._change = dict(known), None
        if known or not number:
            return
        tables = {name: levels[0] for name, levels in fields.items()}
        width = sum(table.embedding_dim for of_field in tables.values() for table in of_field)
        if len(fields) > 1 and number * width <= MAX_PROBED:
            device = next(iter(tables.values()))[0].weight.device
            in_one_pass = at_once(MAX_INTERACTIONS, device)
            self._seen.update(probe_everything(self.objective, tables, number, in_one_pass))

    def choose(self, task: Task) -> Change:
        """Choose clusters of a field, and grow some of its levels if it grows.

        The outputs change with what was chosen for the fields before it in the round, to first order.
        """
        done = choose_cross_fitted(
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
            change_before=self._change,
            advance=task.advance,
        )
        if done.change is not None:
            self._change = done.change if self._change is None else self._change + done.change
        return done
