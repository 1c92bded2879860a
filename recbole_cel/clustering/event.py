"""What the cluster optimisation tells of what it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

SPLIT, REASSIGNMENT, JOINT_SPLIT = "split", "reassignment", "joint split"
"""Kinds of events."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Opened with what is being done and how many interactions it has; gives a function to call with each few."""


@contextmanager
def no_progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show nothing."""
    yield lambda interactions: None


@dataclass(frozen=True)
class ClusterEvent:
    """One change of the clusters of one field, or of a pair of fields.

    Attributes:
        kind: ``split``, ``reassignment`` or ``joint split``.
        field: name of the entity field; of a pair, both names with an ``x`` in between.
        level: the first level that was split, from 1; 0 where none was.
        step: optimiser steps done before the event.
        clusters_before: number of clusters with members before the event, in all levels.
        clusters_after: the same after it.
        moved: entities that changed their cluster.
        entities: entities of the field.
        loss_before: mean training loss of an interaction, of those that the event looked at, before it; no number
            for a joint split.
        loss_after: the same after it, to first order; without folds a split changes none, with folds all entities
            are reassigned in passing.
        seconds: wall time.
        skipped: why nothing was changed, if that is not what the interactions ask for.
        directions: of a joint split, how many there were.
        agreement: of a joint split, by how many standard deviations left-out interactions agreed with each
            direction that was tested, the last of which may have failed.
        row_change: where entities chose, how far their rows moved, relative to their size (root mean squares).
        evidence: what was chosen by: ``training``, what the steps of the epoch had told, or ``passes`` of all
            interactions through the model, which take longer; empty for a joint split.
    """

    kind: str
    field: str
    level: int
    step: int
    clusters_before: int
    clusters_after: int
    moved: int
    entities: int
    loss_before: float
    loss_after: float
    seconds: float
    skipped: str = ""
    directions: int = 0
    agreement: tuple[float, ...] = ()
    row_change: float = math.nan
    evidence: str = ""

    def scalars(self) -> dict[str, float]:
        """Numbers for a plot, by ``Clusters/<field>/<kind>/<what>``."""
        numbers = {"clusters": self.clusters_after, "moved": self.moved, "seconds": self.seconds}
        if self.kind == JOINT_SPLIT:
            numbers["directions"] = self.directions
        elif not self.skipped:
            numbers |= {"loss_before": self.loss_before, "loss_after": self.loss_after}
            if math.isfinite(self.row_change):
                numbers["row_change"] = self.row_change
        return {f"Clusters/{self.field}/{self.kind}/{name}": float(value) for name, value in numbers.items()}

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.field} {self.kind} at step {self.step}: skipped, {self.skipped}"
        where = f" of level {self.level}" if self.level > 1 else ""
        if self.kind == JOINT_SPLIT:
            tests = " ".join(f"{test:.1f}" for test in self.agreement) or "none"
            return (
                f"{self.field} {self.kind} at step {self.step}: {self.directions} directions, tests {tests}, "
                f"{self.clusters_before} -> {self.clusters_after} clusters, "
                f"{self.moved} of {self.entities} entities moved, {self.seconds:.2f} s"
            )
        rows = f", rows by {self.row_change:.1%}" if math.isfinite(self.row_change) else ""
        return (
            f"{self.field} {self.kind}{where} at step {self.step}: "
            f"{self.clusters_before} -> {self.clusters_after} clusters, "
            f"{self.moved} of {self.entities} entities moved{rows}, "
            f"loss {self.loss_before:.4f} -> {self.loss_after:.4f}, {self.seconds:.2f} s"
            f"{f' (evidence: {self.evidence})' if self.evidence else ''}"
        )
