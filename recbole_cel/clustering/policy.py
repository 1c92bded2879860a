"""What a policy of cluster optimisation is; when it acts is up to the schedule (see ``optimiser.py``)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..embedding.clustered import ClusteredEmbedding
from ..evidence.grouping import InteractionsByEntity
from ..evidence.objective import Objective
from ..evidence.probe import Seen
from .settings import ClusterSettings

Levels = Sequence[list[ClusteredEmbedding]]


def nothing() -> None:
    """Has been written already, or there is nothing to write."""


class Change(NamedTuple):
    """What becomes of a field's clusters.

    Attributes:
        moved: entities in another cluster than before.
        loss_before: summed training loss.
        loss_after: the same after it, to first order in the outputs.
        splits: for each level that was split, its number, and the ids of parents and children.
        change: shape ``(n,)``, of the output of each interaction, to first order; with folds only, else None.
        interactions: how many the losses are of, by their weights; None is all.
        row_change: how far the rows of entities move, relative to their size; no number where none is chosen.
        write: writes rows and assignments.
        skipped: why nothing is changed, if that is not what the interactions ask for.
    """

    moved: int
    loss_before: float
    loss_after: float
    splits: Sequence[tuple[int, Tensor, Tensor]] = ()
    change: Tensor | None = None
    interactions: float | None = None
    row_change: float = math.nan
    write: Callable[[], None] = nothing
    skipped: str = ""


class RowChange:
    """Adds up how far rows move, and how large they are."""

    def __init__(self) -> None:
        self._moved = self._size = 0.0

    def add(self, rows: Tensor, steps: Tensor) -> None:
        """Of some entities, shapes ``(E, D)``."""
        self._moved += float(steps.double().square().sum())
        self._size += float(rows.double().square().sum())

    @property
    def relative(self) -> float:
        """Root mean square of the steps over that of the rows."""
        return math.sqrt(self._moved / self._size) if self._size else math.nan


@dataclass(frozen=True)
class Task:
    """What a policy is asked to do with one field.

    Attributes:
        field: its name.
        levels: for each level of its embedding, the tables that share the level's assignment.
        index: its interactions.
        grows: whether clusters are to be split; otherwise entities are only reassigned.
        growths: how often the field has grown so far.
        unsettled: whether it was split jointly with another field, and has not grown since.
        rests: whether its growth had come to an end.
        keep: shape ``(N,)``, bool, entities that stay in their clusters; None is nobody.
        generator: of chance.
        advance: called with the number of interactions done, for a progress bar.
    """

    field: str
    levels: Levels
    index: InteractionsByEntity
    grows: bool
    growths: int
    unsettled: bool
    rests: bool
    keep: Tensor | None
    generator: torch.Generator
    advance: Callable[[int], object]


class Policy(ABC):
    """Decides which clusters are split and where entities belong.

    An event goes through four steps: *observe* what the interactions of each entity say (``evidence``), *score*
    the clusters that it could be in, *choose* one, and *write* rows and assignment when all have chosen.

    Args:
        objective: the training loss.
        settings: the rules.

    Attributes:
        tests_splits: whether a cluster is split only if a test says that it pays, so that growth ends by itself.
        takes_evidence: whether it can do with evidence from training.
    """

    tests_splits: ClassVar[bool]
    takes_evidence: ClassVar[bool] = False

    def __init__(self, objective: Objective, settings: ClusterSettings) -> None:
        self.objective = objective
        self.settings = settings

    @abstractmethod
    def rounds(
        self, fields: Iterable[str], growing: Sequence[str], reassigned: Sequence[str]
    ) -> list[list[tuple[str, bool]]]:
        """In which order fields are changed that are due at one step, and whether each grows then.

        What is chosen for the fields of one round is chosen before any of it is written.
        """

    @abstractmethod
    def observe(self, fields: Mapping[str, Levels], number: int, known: Mapping[str, Seen]) -> None:
        """Begin a round for ``fields``, and look at all ``number`` interactions for them at once if that pays.

        Of some fields the interactions may be ``known`` already.
        """

    @abstractmethod
    def choose(self, task: Task) -> Change:
        """Choose what to split, or where entities belong, in one field."""
