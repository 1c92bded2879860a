"""The cluster optimisation: when clusters are split and entities reassigned during training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..embedding.additive import AdditiveEmbedding
from ..embedding.clustered import ClusteredEmbedding
from ..evidence.grouping import InteractionsByEntity
from ..evidence.numerics import numerical
from ..evidence.objective import Objective
from ..evidence.probe import Seen
from .collecting import Collecting
from .event import JOINT_SPLIT, REASSIGNMENT, SPLIT, ClusterEvent, Progress, no_progress
from .field import by_level, has_choice, num_clusters, with_room
from .joint import PairSplitter
from .policies import policy_of
from .policy import Change, Task
from .row_state import copy_row_state
from .schedule import Schedule
from .settings import ClusterSettings


class ClusterOptimiser:
    """Splits and reassigns clusters at scheduled steps; call :meth:`step` after each optimiser step.

    Args:
        fields: for each entity field, its tables, clustered or additive; the tables of a field share one
            assignment, or one for each level.
        objective: the training loss.
        settings: schedule and rules.
        optimiser: the optimiser of the rows, whose state follows splits (:func:`copy_row_state`).
        steps_per_epoch: converts the intervals of the settings, which are counted in epochs.
        seed: of the samples that large clusters are cut by, of the entities that tell the prior and that levels
            are grown by, and of who stays at a reassignment.
        on_event: called with each event.
        progress: shows how far an event has come.

    Raises:
        ValueError: if tables of a field do not share their assignments, or a size or setting does not fit them.

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
        fields: Mapping[str, Sequence[ClusteredEmbedding | AdditiveEmbedding]],
        objective: Objective,
        settings: ClusterSettings,
        *,
        steps_per_epoch: int,
        optimiser: torch.optim.Optimizer | None = None,
        seed: int = 0,
        on_event: Callable[[ClusterEvent], None] = lambda event: None,
        progress: Progress = no_progress,
    ) -> None:
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}")
        self.fields = {name: by_level(name, tables) for name, tables in fields.items()}
        self.objective = objective
        self.settings = settings
        self.optimiser = optimiser
        self._schedule = Schedule(settings, steps_per_epoch, self.fields)
        self._seed = seed
        self._on_event = on_event
        self._progress = progress
        self._index: dict[str, InteractionsByEntity] = {}
        self._policy = policy_of(self.fields, settings)(objective, settings)
        self._collecting: Collecting | None = None
        if settings.evidence == "training" and self._policy.takes_evidence:
            self._collecting = Collecting(objective, fields, self.fields, self._schedule, steps_per_epoch)
        self._begin()

    @property
    def steps(self) -> int:
        """Optimiser steps counted so far."""
        return self._schedule.steps

    @steps.setter
    def steps(self, number: int) -> None:
        self._schedule.steps = number
        self._begin()

    @property
    def settled(self) -> bool:
        """Clusters are within their number at any time."""
        return True

    @property
    def personalised(self) -> bool:
        """Whether own rows are being trained, and the clusters stay as they are."""
        return self._schedule.personalised

    def step(self) -> list[ClusterEvent]:
        """Count one optimiser step and do what is due after it; returns the events.

        After the first step, and whenever growth that rests is tried again, pairs of fields are split jointly
        before anything else. In which rounds fields are then split and reassigned is up to the policy.
        """
        if self._collecting is not None:
            self._collecting.collect()
        self._schedule.steps += 1
        self._start_personalisation_if_due()
        events = [] if self.personalised else self._due()
        if self._collecting is not None:
            self._collecting.begin()
        return events

    def _due(self) -> list[ClusterEvent]:
        """Do what is due now."""
        schedule = self._schedule
        growing = [
            name
            for name, levels in self.fields.items()
            # Asked last: it looks at the codes, and is asked after every step.
            if (schedule.retries if schedule.rests(name) else schedule.splits) and with_room(levels)
        ]
        jointly = len(self.fields) > 1 and (schedule.starts or any(map(schedule.rests, growing)))
        reassigned = list[str]()
        if schedule.reassigns:
            reassigned = [name for name, levels in self.fields.items() if any(map(has_choice, levels))]
        if (reassigned or growing or jointly) and self.objective.refresh():
            self._index.clear()
        events = self.split_jointly() if jointly else []
        if self._collecting is not None and any(event.directions for event in events):
            self._collecting.forget_epoch()
        for due in self._policy.rounds(self.fields, growing, reassigned):
            events += self._round(due)
        return events

    def split_jointly(self) -> list[ClusterEvent]:
        """Look now for directions that pairs of fields have in common, and split levels of both along them."""
        events = list[ClusterEvent]()
        splitter = PairSplitter(self.objective, self.fields, self._seed + self.steps, self.settings.split_count)
        with self._progress(JOINT_SPLIT, splitter.num_visits) as advance:
            done = splitter.split_all(advance)
        for pair in done:
            for name, splits in zip(pair.fields, pair.done.splits):
                for number, parents, children in splits:
                    self._carry_state(self.fields[name][number], parents, children)
                if splits:
                    self._schedule.wake(name)
            entities = sum(self.fields[name][0][0].num_embeddings for name in pair.fields)
            events.append(pair.event(self.steps, entities))
            self._on_event(events[-1])
        return events

    def split(self, field: str) -> ClusterEvent:
        """Split clusters of ``field`` now, of those levels that are to grow next by the policy.

        With cross-fitting, all entities are reassigned in passing.
        """
        return self._round([(field, True)])[0]

    def reassign(self, field: str) -> ClusterEvent:
        """Reassign the entities of ``field`` now, in every level that has several clusters."""
        return self._round([(field, False)])[0]

    def _round(self, due: Sequence[tuple[str, bool]]) -> list[ClusterEvent]:
        """Let the policy choose for fields, which may grow, and write what it chose."""
        started, number = time.perf_counter(), len(self._index_of(due[0][0]).order)
        known = dict[str, Seen]()
        with numerical() as trouble:
            known = self._collecting.known(due) if self._collecting is not None else {}
            self._policy.observe({name: self.fields[name] for name, _ in due}, number, known)
        share = (time.perf_counter() - started) / len(due)
        chosen = list[tuple[Change, float]]()
        for name, grows in due:
            started, change = time.perf_counter(), Change(0, 0.0, 0.0)
            if not trouble:
                with numerical() as trouble_here:
                    change = self._choose(name, grows)
            reasons = trouble or trouble_here
            change = change._replace(skipped=reasons[0]) if reasons else change
            chosen.append((change, share + time.perf_counter() - started))
        events = list[ClusterEvent]()
        for (name, grows), (change, seconds) in zip(due, chosen):
            events.append(self._write(name, grows, change, seconds, "training" if name in known else "passes"))
            self._on_event(events[-1])
        return events

    def _choose(self, field: str, grows: bool) -> Change:
        index, schedule = self._index_of(field), self._schedule
        # A generator of its own for each step, so that a resumed run draws what the first one drew.
        generator = torch.Generator().manual_seed(self._seed + self.steps)
        keep = None
        if self.settings.reassign_keep and not grows:
            keep = torch.rand(len(index.counts), generator=generator) < self.settings.reassign_keep
            keep = keep.to(index.counts.device)
        with self._progress(f"{field} {SPLIT if grows else REASSIGNMENT}", len(index.order)) as advance:
            task = Task(
                field,
                self.fields[field],
                index,
                grows,
                schedule.growths(field),
                schedule.unsettled(field),
                schedule.rests(field),
                keep,
                generator,
                advance,
            )
            return self._policy.choose(task)

    def _write(self, field: str, grows: bool, change: Change, seconds: float, evidence: str) -> ClusterEvent:
        started, levels, index = time.perf_counter(), self.fields[field], self._index_of(field)
        before, had_room = num_clusters(levels), bool(with_room(levels))
        change.write()
        for number, parents, children in change.splits:
            self._carry_state(levels[number], parents, children)
        if grows and had_room and self._policy.tests_splits:
            self._schedule.grew(field, before, sum(len(children) for *_, children in change.splits))
        total = change.interactions
        if total is None:
            total = float(self.objective.weights(index.order).double().sum())
        return ClusterEvent(
            SPLIT if grows else REASSIGNMENT,
            field,
            min((number + 1 for number, *_ in change.splits), default=0),
            self.steps,
            before,
            num_clusters(levels),
            change.moved,
            levels[0][0].num_embeddings,
            change.loss_before / max(1.0, total),
            change.loss_after / max(1.0, total),
            seconds + time.perf_counter() - started,
            change.skipped,
            row_change=change.row_change,
            evidence=evidence,
        )

    def state_dict(self) -> dict[str, Any]:
        """The position in the schedule; assignments and rows are in the tables' own state."""
        return self._schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved position."""
        self._schedule.load_state_dict(state)
        self._begin()

    def _begin(self) -> None:
        """Take up what the position in the schedule asks for."""
        self._start_personalisation_if_due()
        if self._collecting is not None:
            self._collecting.begin()

    def _start_personalisation_if_due(self) -> None:
        if self.personalised:
            for levels in self.fields.values():
                for table in chain.from_iterable(levels):
                    table.start_personalisation()

    def _carry_state(self, tables: Sequence[ClusteredEmbedding], parents: Tensor, children: Tensor) -> None:
        if self.optimiser is not None:
            for table in tables:
                copy_row_state(self.optimiser, table.weight, parents, children)

    def _index_of(self, field: str) -> InteractionsByEntity:
        assignment = self.fields[field][0][0].assignment
        if field not in self._index or len(self._index[field].counts) != assignment.num_entities:
            entities = self.objective.entities(field)
            folds = self.objective.folds(assignment.num_folds) if assignment.num_folds > 1 else None
            self._index[field] = InteractionsByEntity(
                entities, assignment.num_entities, folds, assignment.num_folds
            )
        return self._index[field]
