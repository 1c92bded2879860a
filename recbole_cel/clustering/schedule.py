"""When clusters are split, reassigned and personalised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..options import MAX_COUNT
from .settings import ClusterSettings

# With cross-fitting, growth of a field rests after so many events in a row that gave it less than this share of
# clusters more.
POOR_SPLITS = 2
ENOUGH_SPLITS = 0.15
# In the place of their number: none yet since a joint split.
UNSETTLED = -1
# It is tried again after so many epochs (where reassignments do not say when), and then each time at this many
# times the epochs of the time before.
RETRY_INTERVAL = 2.0
RETRY_SLOWDOWN = 1.5

# Of a number of multiples.
ROUNDING = 1e-9


class Schedule:
    """Counts optimiser steps, and says what is due.

    Args:
        settings: intervals, in epochs.
        steps_per_epoch: converts them.
        fields: names of the entity fields.

    Attributes:
        steps: optimiser steps counted so far.
    """

    def __init__(self, settings: ClusterSettings, steps_per_epoch: int, fields: Iterable[str]) -> None:
        def in_steps(epochs: float) -> float:
            return max(1.0, epochs * steps_per_epoch)

        self.steps = 0
        self._settings = settings
        self._poor_splits = dict.fromkeys(fields, 0)
        self._growths = dict.fromkeys(self._poor_splits, 0)
        self._split_every = in_steps(settings.split_interval)
        self._reassign_every = in_steps(settings.reassign_interval) if settings.reassign_interval else math.inf
        self._retry_every = in_steps(settings.reassign_interval or RETRY_INTERVAL)
        self._personal_from = (
            round(settings.personalisation_start * steps_per_epoch) if settings.personalisation else None
        )

    @property
    def personalised(self) -> bool:
        """Whether own rows are being trained, and the clusters stay as they are."""
        return self._personal_from is not None and self.steps >= self._personal_from

    @property
    def starts(self) -> bool:
        """Whether this is the first step."""
        return self.steps == 1

    @property
    def splits(self) -> bool:
        """Whether fields that grow are to be split."""
        return self.splits_at(self.steps)

    @property
    def reassigns(self) -> bool:
        """Whether entities are to be reassigned."""
        return self.reassigns_at(self.steps)

    @property
    def retries(self) -> bool:
        """Whether growth that rests is to be tried again."""
        return self.retries_at(self.steps)

    def splits_at(self, step: int) -> bool:
        """Whether fields that grow are to be split after so many steps."""
        return _is_due(step, self._split_every)

    def reassigns_at(self, step: int) -> bool:
        """Whether entities are to be reassigned after so many steps."""
        return _is_due(step, self._reassign_every, self._settings.reassign_slowdown)

    def retries_at(self, step: int) -> bool:
        """Whether growth that rests is to be tried again after so many steps."""
        return _is_due(step, self._retry_every, max(RETRY_SLOWDOWN, self._settings.reassign_slowdown))

    def rests(self, field: str) -> bool:
        """Whether the growth of ``field`` rests, because splits were in vain too often."""
        return self._poor_splits[field] >= POOR_SPLITS

    def grew(self, field: str, before: int, new: int) -> None:
        """Take note that an event gave ``field`` so many ``new`` clusters."""
        enough = new >= ENOUGH_SPLITS * min(before, self._settings.split_count or before)
        self._poor_splits[field] = 0 if enough else max(0, self._poor_splits[field]) + 1
        self._growths[field] += 1

    def growths(self, field: str) -> int:
        """How often ``field`` was grown so far."""
        return self._growths[field]

    def wake(self, field: str) -> None:
        """Let the growth of ``field`` go on after a joint split."""
        self._poor_splits[field] = UNSETTLED

    def unsettled(self, field: str) -> bool:
        """Whether ``field`` was split jointly and has not grown since.

        Signs are a coarse code: entities that are on the wrong side of one had better move than be split off.
        """
        return self._poor_splits[field] == UNSETTLED

    def state_dict(self) -> dict[str, Any]:
        """The position in the schedule."""
        return {"steps": self.steps, "poor_splits": dict(self._poor_splits), "growths": dict(self._growths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved position.

        Raises:
            ValueError: if it is none of these fields.
        """
        poor, growths, steps = state["poor_splits"], state["growths"], state["steps"]
        if any(saved.keys() != self._growths.keys() for saved in (poor, growths)):
            raise ValueError(f"it is of fields {sorted(map(str, poor))}, not {sorted(self._growths)}")
        counts = [steps, *growths.values()]
        if not all(type(one) is int and 0 <= one <= MAX_COUNT for one in counts):
            raise ValueError("steps and growths are counts")
        if not all(type(one) is int and abs(one) <= MAX_COUNT for one in poor.values()):
            raise ValueError("poor splits are counted")
        self.steps = steps
        self._poor_splits.update(poor)
        self._growths.update(growths)


def _is_due(step: int, every: float, slowdown: float = 1.0) -> bool:
    """Whether a multiple of ``every`` steps, which need not be a whole number, is reached at ``step``.

    Of the multiples after the first, only those count that are ``slowdown`` times the last that counted, or the
    next one if that is more; fractions are dropped.
    """
    multiple = _multiples(step, every)
    if multiple == _multiples(step - 1, every):
        return False
    if slowdown == 1.0:
        return True
    counts = 1
    while counts < multiple:
        counts = max(counts + 1, int(counts * slowdown))
    return counts == multiple


def _multiples(step: int, every: float) -> int:
    """How many multiples of ``every`` are within ``step``, though a fifth of six steps is rounded up a little."""
    return math.floor(step / every + ROUNDING)
