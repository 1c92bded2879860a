"""Joint splits of all pairs of fields."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from ...embedding.clustered import ClusteredEmbedding
from ...evidence.bounds import at_once
from ...evidence.numerics import numerical
from ...evidence.objective import Objective
from ..event import JOINT_SPLIT, ClusterEvent
from ..field import has_choice, num_clusters
from .directions import Directions, find_directions
from .joint_split import JointSplit, Side, has_room_to_split, split_jointly
from .residuals import Residuals, residuals
from .sensitivity import sensitivity

Levels = Sequence[Sequence[ClusteredEmbedding]]

# Folds by which directions are tested where the assignments have none.
TEST_FOLDS = 4
# Interactions in one pass through the model, and those that tell how outputs depend on pairs of rows.
MAX_INTERACTIONS = 1 << 16
SAMPLE = 256
# A model may need much more memory for an interaction than we do; so many times the bound on a GPU.
MAX_PASS = 8
# Outputs that differ by no more are one.
ROUNDING = 1e-5
NOTHING = JointSplit(0, ([], []), 0)


class PairSplit(NamedTuple):
    """What became of a pair of fields.

    Attributes:
        fields: names of the two.
        agreement: see :class:`~.directions.Directions`.
        done: what was split.
        clusters: number of clusters of both with members, before and after.
        seconds: wall time.
        skipped: why nothing was split, if that is not what the interactions say.
    """

    fields: tuple[str, str]
    agreement: tuple[float, ...]
    done: JointSplit
    clusters: tuple[int, int]
    seconds: float
    skipped: str = ""

    def event(self, step: int, entities: int) -> ClusterEvent:
        """The event; both fields have so many ``entities``."""
        return ClusterEvent(
            *(JOINT_SPLIT, " x ".join(self.fields), 0, step, *self.clusters, self.done.moved, entities),
            *(math.nan, math.nan, self.seconds, self.skipped, self.done.kept, self.agreement),
        )


class PairSplitter:
    """Finds directions of all pairs of fields, and splits levels along them.

    Args:
        objective: the training loss.
        fields: for each entity field, its levels.
        seed: of chance.
        max_splits: clusters of a level that are split at most; 0 means as many as there are.
    """

    def __init__(self, objective: Objective, fields: Mapping[str, Levels], seed: int, max_splits: int = 0) -> None:
        self._max_splits = max_splits
        self._objective = objective
        self._fields = fields
        self._generator = torch.Generator().manual_seed(seed)
        self._seed = seed
        self._ids = {name: objective.entities(name).long() for name in fields}
        folds = {levels[0][0].assignment.num_folds for levels in fields.values()}
        self._num_folds = max(folds) if max(folds) > 1 else TEST_FOLDS
        self._folds = objective.folds(self._num_folds)
        self._numbers = torch.arange(len(self._folds), device=self._folds.device)
        self._views: dict[int | None, Tensor] = {}
        self._advance: Callable[[int], object] = lambda interactions: None

    @property
    def num_visits(self) -> int:
        """How often interactions are looked at, at most: for a few directions, and for many."""
        return 2 * len(self._pairs()) * (self._num_folds + 1) * len(self._folds)

    def split_all(self, advance: Callable[[int], object] = lambda interactions: None) -> list[PairSplit]:
        """Split all pairs of fields, the pair with the strongest direction first.

        ``advance`` is called with the number of interactions looked at, for a progress bar.
        """
        self._advance = advance
        found, seconds = dict[tuple[str, str], Directions](), dict[tuple[str, str], float]()
        done = list[PairSplit]()
        for pair in self._pairs():
            started = time.perf_counter()
            with numerical() as trouble:
                found[pair] = self._directions(*pair)
            seconds[pair] = time.perf_counter() - started
            if trouble:
                have = self._num_clusters(pair)
                done.append(PairSplit(pair, (), NOTHING, (have, have), seconds[pair], trouble[0]))
        for pair in sorted(found, key=lambda pair: -float(found[pair].effect[:1, :1].sum())):
            started = time.perf_counter()
            before, split = self._num_clusters(pair), NOTHING
            with numerical() as trouble:
                split = self._split(pair, found[pair])
            clusters = before, self._num_clusters(pair)
            seconds[pair] += time.perf_counter() - started
            done.append(PairSplit(pair, found[pair].agreement, split, clusters, seconds[pair], "".join(trouble)))
        return done

    def _num_clusters(self, pair: tuple[str, str]) -> int:
        return sum(num_clusters(self._fields[name]) for name in pair)

    def _directions(self, left: str, right: str) -> Directions:
        sizes = self._fields[left][0][0].num_embeddings, self._fields[right][0][0].num_embeddings
        return find_directions(
            self._ids[left], self._ids[right], sizes, self._folds, self._num_folds, self._residuals, self._seed
        )

    def _pairs(self) -> list[tuple[str, str]]:
        """All pairs of fields of which both have a level with room, if there are interactions at all."""
        if not len(self._numbers):
            return []
        return list(combinations((name for name, of_field in self._fields.items() if can_split(of_field)), 2))

    def _residuals(self, fold: int | None) -> Residuals:
        outputs = self._outputs(fold)
        weight = torch.ones_like(outputs) if fold is None else (self._folds != fold).to(outputs.dtype)
        fields = [(ids, self._fields[name][0][0].num_embeddings) for name, ids in self._ids.items()]
        self._advance(len(self._folds))
        return residuals(self._objective, outputs, self._numbers, fields, weight)

    def _outputs(self, fold: int | None) -> Tensor:
        if not self._views_differ():
            fold = 0  # whichever; one that is given need not be computed
        if fold not in self._views:
            self._views = {fold: self._all_outputs(fold)}
        return self._views[fold]

    @torch.no_grad()
    def _all_outputs(self, fold: int | None) -> Tensor:
        number = len(self._numbers)
        if self._share_rows() and number > MAX_INTERACTIONS:
            # All are one, unless the model looks at more than the entities.
            some = torch.randint(number, (MAX_INTERACTIONS,), generator=self._generator)
            seen = self._objective.outputs(some.to(self._numbers.device), fold)
            if float(seen.max() - seen.min()) <= ROUNDING:
                return seen[0].repeat(number)
        parts = self._numbers.split(at_once(MAX_INTERACTIONS, self._numbers.device, MAX_PASS))
        return torch.cat([self._objective.outputs(some, fold) for some in parts])

    def _share_rows(self) -> bool:
        """Whether all entities of each field have one row."""
        return not any(has_choice(tables) for levels in self._fields.values() for tables in levels)

    def _views_differ(self) -> bool:
        codes = {tables[0].assignment.codes for levels in self._fields.values() for tables in levels}
        return any(one.views_differ() for one in codes)

    def _split(self, pair: tuple[str, str], found: Directions) -> JointSplit:
        if not len(found.effect):
            return NOTHING
        levels = [self._fields[name] for name in pair]
        some = torch.randperm(len(self._folds), generator=self._generator)[:SAMPLE].to(self._folds.device)
        seen = sensitivity(self._objective, levels[0], levels[1], some, self._generator)
        sides = Side(levels[0], seen.left), Side(levels[1], seen.right)
        return split_jointly(sides, found, seen.strength, self._max_splits)


def can_split(levels: Levels) -> bool:
    """Whether a field has a level that a joint split could split."""
    return any(map(has_room_to_split, levels))
