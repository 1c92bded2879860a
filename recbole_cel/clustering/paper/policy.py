"""Clusters are split by GPCA, and entities go to the cluster under which their interactions lose least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...evidence.probe import Seen, is_linear_in_row
from ..field import has_choice, with_room
from ..policy import Change, Levels, Policy, Task
from .reassignment import choose_best
from .split import choose_split, propose_split

LINEARITY_SAMPLE = 256


class PaperPolicy(Policy):
    """The policy of Chen et al. (WWW 2023): all interactions decide, and an event splits or reassigns.

    A level grows while it has unused clusters and members that differ; where none of its clusters is split,
    the next level is, too.
    """

    tests_splits = False

    def rounds(
        self, fields: Iterable[str], growing: Sequence[str], reassigned: Sequence[str]
    ) -> list[list[tuple[str, bool]]]:
        """Reassignments first: right after a split the children's rows are equal, and nobody has a choice.

        Each field's turn finds the model as the one before it has left it.
        """
        return [[(name, False)] for name in reassigned] + [[(name, True)] for name in growing]

    def observe(self, fields: Mapping[str, Levels], number: int, known: Mapping[str, Seen]) -> None:
        """Nothing: interactions are looked at in passing."""

    def choose(self, task: Task) -> Change:
        """Split one level, or reassign all."""
        return self._split(task) if task.grows else self._reassign(task)

    def _split(self, task: Task) -> Change:
        settings = self.settings
        for tables in with_room(task.levels) or task.levels[-1:]:
            found = propose_split(
                self.objective,
                tables,
                task.index,
                settings.split_threshold,
                task.generator,
                by=settings.split_by,
                advance=task.advance,
            )
            done = choose_split(found, tables, task.index, settings.split_criterion, settings.split_count)
            if len(done.parents):
                break
        loss = float(found.loss.sum())
        splits = [(task.levels.index(tables), done.parents, done.children)] if len(done.parents) else []
        number = float(found.interactions.sum())
        return Change(done.moved, loss, loss, splits, interactions=number, write=done.write)

    def _reassign(self, task: Task) -> Change:
        levels = [tables for tables in task.levels if has_choice(tables)] or task.levels[:1]
        settings, candidates = self.settings, self.settings.reassign_candidates
        if candidates and len(task.index.order) and self._is_linear(task):
            candidates = 0
        return choose_best(
            self.objective,
            levels,
            task.index,
            settings.reassign_gain,
            candidates,
            entropy=settings.reassign_entropy,
            keep=task.keep,
            advance=task.advance,
        )

    def _is_linear(self, task: Task) -> bool:
        entities = task.index.counts.nonzero().squeeze(1)
        chunk = next(next(task.index.chunks(entities, LINEARITY_SAMPLE)).pieces(LINEARITY_SAMPLE))
        return is_linear_in_row(self.objective, task.levels[0], chunk)
