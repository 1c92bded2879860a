"""The cluster optimisation: when clusters are split and entities reassigned during training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from ..embedding.assignment import ClusterAssignment
from ..embedding.clustered import ClusteredEmbedding
from .grouping import InteractionsByEntity
from .objective import Objective
from .optimiser_state import copy_row_state
from .probe import is_linear_in_row
from .reassignment import reassign
from .settings import ClusterSettings
from .split import apply_split, propose_split

LINEARITY_SAMPLE = 256

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Opened with what is being done and how many interactions it has; gives a function that is told of each few."""


@contextmanager
def no_progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show nothing."""
    yield lambda interactions: None


@dataclass(frozen=True)
class ClusterEvent:
    """One change of one field's clusters.

    Attributes:
        kind: ``split`` or ``reassignment``.
        field: name of the entity field.
        step: optimiser steps done before the event.
        clusters_before: number of clusters with members before the event.
        clusters_after: the same after it.
        moved: entities that changed their cluster.
        entities: entities of the field.
        loss_before: mean training loss of an interaction before the event.
        loss_after: the same after it; a split changes none.
        seconds: wall time.
    """

    kind: str
    field: str
    step: int
    clusters_before: int
    clusters_after: int
    moved: int
    entities: int
    loss_before: float
    loss_after: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.field} {self.kind} at step {self.step}: {self.clusters_before} -> {self.clusters_after} "
            f"clusters, {self.moved} of {self.entities} entities moved, "
            f"loss {self.loss_before:.4f} -> {self.loss_after:.4f}, {self.seconds:.2f} s"
        )


class ClusterOptimiser:
    """Splits and reassigns clusters at scheduled steps; call :meth:`step` after each optimiser step.

    Args:
        fields: for each entity field, its clustered tables; the tables of a field share one assignment.
        objective: the training loss.
        settings: schedule and rules.
        optimiser: the optimiser of the rows, whose state follows splits (:func:`copy_row_state`).
        steps_per_epoch: converts the intervals of the settings, which are counted in epochs.
        seed: of the samples that large clusters are cut by.
        on_event: called with each event.
        progress: shows how far an event has come.

    Attributes:
        steps: optimiser steps counted so far; the whole state besides the tables' own.

    Raises:
        ValueError: if tables of a field do not share one assignment.

    Example:
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.users = ClusteredEmbedding(ClusterAssignment(num_entities=100, max_clusters=4), 2)
        ...     def forward(self, user):
        ...         return self.users(user).sum(-1)
        >>> model, user, label = Model(), torch.arange(500) % 100, torch.arange(500) % 2.0
        >>> objective = ModuleObjective(model, ["user"], [user], label)
        >>> clusters = ClusterOptimiser({"user": [model.users]}, objective, ClusterSettings(), steps_per_epoch=1)
        >>> clusters.step()[0].clusters_after
        2
    """

    def __init__(
        self,
        fields: Mapping[str, Sequence[ClusteredEmbedding]],
        objective: Objective,
        settings: ClusterSettings,
        *,
        steps_per_epoch: int,
        optimiser: torch.optim.Optimizer | None = None,
        seed: int = 0,
        on_event: Callable[[ClusterEvent], None] = lambda event: None,
        progress: Progress = no_progress,
    ) -> None:
        for name, tables in fields.items():
            if not tables or any(table.assignment is not tables[0].assignment for table in tables):
                raise ValueError(f"the tables of field {name} must share one ClusterAssignment object")
        self.fields = {name: list(tables) for name, tables in fields.items()}
        self.objective = objective
        self.settings = settings
        self.optimiser = optimiser
        self.steps = 0
        self._seed = seed
        self._on_event = on_event
        self._progress = progress
        self._index: dict[str, InteractionsByEntity] = {}
        self._linear: dict[str, bool] = {}

        def in_steps(epochs: float) -> int:
            return max(1, round(epochs * steps_per_epoch))

        self._split_every = in_steps(settings.split_interval)
        self._reassign_every = in_steps(settings.reassign_interval) if settings.reassign_interval else 0
        self._personal_from = (
            round(settings.personalisation_start * steps_per_epoch) if settings.personalisation else None
        )
        self._start_personalisation_if_due()

    @property
    def personalised(self) -> bool:
        """Whether own rows are being trained, and the clusters stay as they are."""
        return self._personal_from is not None and self.steps >= self._personal_from

    def step(self) -> list[ClusterEvent]:
        """Count one optimiser step and do what is due after it; returns the events.

        A reassignment that is due at the same step as a split comes first: right after a split the children's
        rows are equal, and there is nothing to choose between them.
        """
        self.steps += 1
        self._start_personalisation_if_due()
        if self.personalised:
            return []
        due: list[tuple[Callable[[str], ClusterEvent], list[str]]] = []
        if self._reassign_every and self.steps % self._reassign_every == 0:
            several = [name for name in self.fields if self._assignment(name).num_clusters > 1]
            due.append((self.reassign, several))
        if self.steps % self._split_every == 0:
            growing = [name for name in self.fields if self._has_free_cluster(name)]
            due.append((self.split, growing))
        if any(names for _, names in due) and self.objective.refresh():
            self._index.clear()
        events = []
        for act, names in due:
            for name in names:
                event = act(name)
                events.append(event)
                self._on_event(event)
        return events

    def split(self, field: str) -> ClusterEvent:
        """Split the clusters of ``field`` now."""
        started, before = time.perf_counter(), self._assignment(field).num_clusters
        tables, settings, index = self.fields[field], self.settings, self._index_of(field)
        generator = torch.Generator().manual_seed(self._seed + self.steps)
        with self._progress(f"{field} split", len(index.order)) as advance:
            found = propose_split(
                self.objective, tables, index, settings.split_threshold, generator, advance=advance
            )
        done = apply_split(found, tables, index, settings.split_criterion, settings.split_count)
        if self.optimiser is not None:
            for table in tables:
                copy_row_state(self.optimiser, table.weight, done.parents, done.children)
        loss = float(found.loss.sum() / found.interactions.sum().clamp(min=1))
        return self._event("split", field, before, done.moved, loss, loss, started)

    def reassign(self, field: str) -> ClusterEvent:
        """Reassign the entities of ``field`` now."""
        started, before = time.perf_counter(), self._assignment(field).num_clusters
        tables, settings, index = self.fields[field], self.settings, self._index_of(field)
        candidates = 0 if self._is_linear(field) else settings.reassign_candidates
        with self._progress(f"{field} reassignment", len(index.order)) as advance:
            done = reassign(self.objective, tables, index, settings.reassign_gain, candidates, advance)
        total = max(1, len(index.order))
        losses = done.loss_before / total, done.loss_after / total
        return self._event("reassignment", field, before, done.moved, *losses, started)

    def state_dict(self) -> dict[str, int]:
        """The position in the schedule; assignments and rows are in the tables' own state."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a saved position."""
        self.steps = int(state["steps"])
        self._start_personalisation_if_due()

    def _start_personalisation_if_due(self) -> None:
        if self.personalised:
            for tables in self.fields.values():
                for table in tables:
                    table.start_personalisation()

    def _assignment(self, field: str) -> ClusterAssignment:
        return self.fields[field][0].assignment

    def _has_free_cluster(self, field: str) -> bool:
        return self._assignment(field).num_clusters < self._assignment(field).max_clusters

    def _index_of(self, field: str) -> InteractionsByEntity:
        if field not in self._index:
            entities = self.objective.entities(field)
            self._index[field] = InteractionsByEntity(entities, self._assignment(field).num_entities)
        return self._index[field]

    def _is_linear(self, field: str) -> bool:
        if field not in self._linear:
            index = self._index_of(field)
            entities = index.counts.nonzero().squeeze(1)
            chunk = next(index.chunks(entities, LINEARITY_SAMPLE))
            self._linear[field] = is_linear_in_row(self.objective, self.fields[field], chunk)
        return self._linear[field]

    def _event(
        self, kind: str, field: str, before: int, moved: int, was: float, now: float, started: float
    ) -> ClusterEvent:
        assignment = self._assignment(field)
        after, entities = assignment.num_clusters, assignment.num_entities
        seconds = time.perf_counter() - started
        return ClusterEvent(kind, field, self.steps, before, after, moved, entities, was, now, seconds)
