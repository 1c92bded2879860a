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
from ..evidence.objective import Objective
from ..evidence.probe import Probe, is_linear_in_row, probe_everything
from .cross_fitted.reassignment import reassign_cross_fitted
from .event import ClusterEvent, Progress, no_progress
from .field import by_level, grown_next, has_choice, num_clusters, with_room
from .joint import PairSplitter
from .paper.reassignment import reassign
from .paper.split import apply_split, propose_split
from .row_state import copy_row_state
from .schedule import Schedule
from .settings import ClusterSettings

LINEARITY_SAMPLE = 256
# A probe that several fields share: numbers in it, and interactions in one pass through the model.
MAX_PROBED = 1 << 26
MAX_INTERACTIONS = 1 << 14


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
        ValueError: if tables of a field do not share their assignments.

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
        self.fields = {name: by_level(name, tables) for name, tables in fields.items()}
        self.objective = objective
        self.settings = settings
        self.optimiser = optimiser
        self._schedule = Schedule(settings, steps_per_epoch, self.fields)
        self._seed = seed
        self._on_event = on_event
        self._progress = progress
        self._index: dict[str, InteractionsByEntity] = {}
        self._linear: dict[str, bool] = {}
        self._start_personalisation_if_due()

    @property
    def steps(self) -> int:
        """Optimiser steps counted so far."""
        return self._schedule.steps

    @steps.setter
    def steps(self, number: int) -> None:
        self._schedule.steps = number

    @property
    def personalised(self) -> bool:
        """Whether own rows are being trained, and the clusters stay as they are."""
        return self._schedule.personalised

    def step(self) -> list[ClusterEvent]:
        """Count one optimiser step and do what is due after it; returns the events.

        After the first step, and whenever growth that rests is tried again, pairs of fields are split jointly
        before anything else. With cross-fitting, levels are grown within a reassignment. Without, a reassignment
        that is due at the same step as a split comes first: right after a split the children's rows are equal, and
        there is nothing to choose between them.
        """
        schedule = self._schedule
        schedule.steps += 1
        self._start_personalisation_if_due()
        if self.personalised:
            return []
        growing = [
            name
            for name, levels in self.fields.items()
            if with_room(levels) and (schedule.retries if schedule.rests(name) else schedule.splits)
        ]
        jointly = len(self.fields) > 1 and (schedule.starts or any(map(schedule.rests, growing)))
        reassigned = list[str]()
        if schedule.reassigns:
            reassigned = [name for name, levels in self.fields.items() if any(map(has_choice, levels))]
        if (reassigned or growing or jointly) and self.objective.refresh():
            self._index.clear()
        events = self.split_jointly() if jointly else []
        grown = [name for name in growing if self._in_folds(name)]
        split = [name for name in growing if name not in grown]
        together = [name for name in self.fields if name in reassigned or name in grown]
        started = time.perf_counter()
        seen = self._probes([name for name in together if self._in_folds(name)])
        share = (time.perf_counter() - started) / max(1, len(seen))
        for name in together:
            done = self._reassign(name, name in grown, seen, share if name in seen else 0.0)
            events.append(done)
            self._on_event(done)
        for name in split:
            events.append(self.split(name))
            self._on_event(events[-1])
        return events

    def split_jointly(self) -> list[ClusterEvent]:
        """Look now for directions that pairs of fields have in common, and split levels of both along them."""
        events = list[ClusterEvent]()
        splitter = PairSplitter(self.objective, self.fields, self._seed + self.steps, self.settings.split_count)
        with self._progress("joint split", splitter.num_visits) as advance:
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
        """Split clusters of ``field`` now, in its first level that still grows.

        With cross-fitting, levels are grown and all are reassigned. Without, a level grows while it has unused
        clusters and members to be told apart; where none of its clusters is split, the next level is, too.
        """
        if self._in_folds(field):
            return self._reassign(field, True, {}, 0.0)
        started, before = time.perf_counter(), num_clusters(self.fields[field])
        settings, index = self.settings, self._index_of(field)
        generator = torch.Generator().manual_seed(self._seed + self.steps)
        levels = self.fields[field]
        for tables in with_room(self.fields[field]) or levels[-1:]:
            with self._progress(f"{field} split", len(index.order)) as advance:
                found = propose_split(
                    self.objective, tables, index, settings.split_threshold, generator, advance=advance
                )
            done = apply_split(found, tables, index, settings.split_criterion, settings.split_count)
            self._carry_state(tables, done.parents, done.children)
            if len(done.parents):
                break
        loss = float(found.loss.sum() / found.interactions.sum().clamp(min=1))
        level = levels.index(tables) + 1
        return self._event("split", field, level, before, done.moved, loss, loss, started)

    def reassign(self, field: str) -> ClusterEvent:
        """Reassign the entities of ``field`` now, in every level that has several clusters."""
        return self._reassign(field, False, {}, 0.0)

    def _reassign(self, field: str, grow: bool, seen: dict[str, Probe], seconds: float) -> ClusterEvent:
        """Reassign the entities of ``field``, and grow some of its levels.

        ``seen`` are probes of all interactions, if there are any already, and took so many ``seconds`` a field;
        what they say of other fields' outputs follows, to first order.
        """
        started, before = time.perf_counter() - seconds, num_clusters(self.fields[field])
        settings, index = self.settings, self._index_of(field)
        levels = self.fields[field]
        # A generator of its own for each step, so that a resumed run draws what the first one drew.
        generator = torch.Generator().manual_seed(self._seed + self.steps)
        keep = None
        if settings.reassign_keep and not grow:
            keep = torch.rand(len(index.counts), generator=generator) < settings.reassign_keep
            keep = keep.to(index.counts.device)
        growing = grown_next(levels, self._schedule.growths(field)) if grow else []
        kind = "split" if grow else "reassignment"
        with self._progress(f"{field} {kind}", len(index.order)) as advance:
            if self._in_folds(field):
                probe = seen.get(field)
                done = reassign_cross_fitted(
                    self.objective,
                    levels,
                    index,
                    settings,
                    generator,
                    growing=growing,
                    settle=self._schedule.unsettled(field),
                    merging=self._schedule.rests(field),
                    keep=keep,
                    seen_before=probe,
                    advance=advance,
                )
                for name, other in seen.items():
                    if name != field and done.change is not None:
                        seen[name] = other._replace(outputs=other.outputs + done.change)
            else:
                several = [tables for tables in levels if has_choice(tables)] or levels[:1]
                candidates = settings.reassign_candidates
                if candidates and len(index.order) and self._is_linear(field):
                    candidates = 0
                gain, prior = settings.reassign_gain, settings.reassign_prior
                done = reassign(
                    self.objective, several, index, gain, candidates, prior=prior, keep=keep, advance=advance
                )
        for number, parents, children in done.splits:
            self._carry_state(levels[number], parents, children)
        if growing:
            new = sum(len(children) for *_, children in done.splits)
            self._schedule.grew(field, before, new)
        total = max(1.0, float(self.objective.weights(index.order).double().sum()))
        losses = done.loss_before / total, done.loss_after / total
        level = min((number + 1 for number, *_ in done.splits), default=0)
        return self._event(kind, field, level, before, done.moved, *losses, started)

    def state_dict(self) -> dict[str, Any]:
        """The position in the schedule; assignments and rows are in the tables' own state."""
        return self._schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved position."""
        self._schedule.load_state_dict(state)
        self._start_personalisation_if_due()

    def _start_personalisation_if_due(self) -> None:
        if self.personalised:
            for levels in self.fields.values():
                for table in chain.from_iterable(levels):
                    table.start_personalisation()

    def _probes(self, fields: Sequence[str]) -> dict[str, Probe]:
        """One probe for all ``fields``, if there are several and it is small."""
        tables = {name: self.fields[name][0] for name in fields}
        width = sum(table.embedding_dim for table in chain.from_iterable(tables.values()))
        number = len(self._index_of(fields[0]).order) if fields else 0
        if len(fields) < 2 or number * width > MAX_PROBED:
            return {}
        return probe_everything(self.objective, tables, number, MAX_INTERACTIONS)

    def _in_folds(self, field: str) -> bool:
        return self.fields[field][0][0].assignment.num_folds > 1

    def _carry_state(self, tables: Sequence[ClusteredEmbedding], parents: Tensor, children: Tensor) -> None:
        if self.optimiser is not None:
            for table in tables:
                copy_row_state(self.optimiser, table.weight, parents, children)

    def _index_of(self, field: str) -> InteractionsByEntity:
        if field not in self._index:
            entities = self.objective.entities(field)
            assignment = self.fields[field][0][0].assignment
            folds = self.objective.folds(assignment.num_folds) if assignment.num_folds > 1 else None
            self._index[field] = InteractionsByEntity(
                entities, assignment.num_entities, folds, assignment.num_folds
            )
        return self._index[field]

    def _is_linear(self, field: str) -> bool:
        if field not in self._linear:
            index = self._index_of(field)
            entities = index.counts.nonzero().squeeze(1)
            chunk = next(next(index.chunks(entities, LINEARITY_SAMPLE)).pieces(LINEARITY_SAMPLE))
            self._linear[field] = is_linear_in_row(self.objective, self.fields[field][0], chunk)
        return self._linear[field]

    def _event(
        self, kind: str, field: str, level: int, before: int, moved: int, was: float, now: float, started: float
    ) -> ClusterEvent:
        after, entities = num_clusters(self.fields[field]), self.fields[field][0][0].num_embeddings
        seconds = time.perf_counter() - started
        return ClusterEvent(kind, field, level, self.steps, before, after, moved, entities, was, now, seconds)
