"""Full tables whose rows are drawn to the centres of k-means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...options import check_options, is_number, option
from ..base import About, EmbeddingStrategy
from ..budget import BYTES_PER_NUMBER, Cost
from ..registry import register_strategy
from ..storage import Storage
from ..training import Training
from .acting import ActingHook
from .centred import CentredTable
from .codes import Codes, bytes_of_codes
from .k_means import k_means


@dataclass(frozen=True)
class CentresOptions:
    """Options of strategies whose rows are drawn to centres."""

    pull: float = option(
        1.0,
        "lambda: this times the squared distances of rows to centres, against the summed loss",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    interval: float = option(
        1.0, "epochs from one k-means to the next", "a number > 0", lambda v: is_number(v, 0, open=True)
    )

    def __post_init__(self) -> None:
        check_options(self)


@register_strategy
class JNKMStrategy(EmbeddingStrategy[CentredTable]):
    """Factors and k-means of their rows at once: rows are drawn to the centres of their clusters.

    Yang, Fu and Sidiropoulos, "Learning from hidden traits: joint factor analysis and latent clustering", IEEE
    Transactions on Signal Processing 2017 (joint NMF and k-means): the loss has besides
    ``lambda sum_i ||e_i - c_a(i)||^2``; a and c are found by k-means of the rows now and then.

    It needs a full table while training, so that no budget of training bytes below that can be kept. Under any
    other budget centres are served in the place of rows (and in evaluation), with a code for each id; without one,
    own rows are served. Ours: centres are at any time the means of the present rows; rows are free until the first
    k-means, which runs over all tables' rows side by side. Until then no epoch counts as the best.
    """

    name = "jnkm"
    suffix = "JNKM"
    prefix = "jnkm_"
    Options: ClassVar[type[Any]] = CentresOptions
    about = About(
        "under a budget ca(i), otherwise E[i], which is drawn to ca(i)",
        "Yang, Fu, Sidiropoulos, IEEE TSP 2017",
        "K centres and a code of each id; a row of each id where there is no budget",
        "a full table",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clustered = False

    @cached_property
    def codes(self) -> Codes:
        """The centre of each id, shared by all tables."""
        return Codes(self.num_entities, self.size)

    @cached_property
    def roots(self) -> Codes | None:
        """The centre of each centre, shared by all tables; None if there are no such."""
        return None

    def _size(self) -> int:
        return min(self.budget.rows or 1, self.num_entities) if self.budget.automatic else super()._size()

    @property
    def num_clusters(self) -> int:
        """Centres that ids have."""
        return self.codes.num_used

    def cost(self, size: int) -> Cost:
        """Of so many centres."""
        width = self.budget.width
        centres = size * width * BYTES_PER_NUMBER
        codes = bytes_of_codes(self.num_entities, size)
        training = centres + self._bytes_of_roots(size)
        if not self._serves_centres:
            return Cost(self.num_entities * width, 0, codes + training)
        served = codes + centres
        return Cost(self.num_entities * width, codes, training, served=served, numbers=size * width)

    def storage(self, optimiser: torch.optim.Optimizer | None = None) -> Storage:
        """Centres and codes are served, or own rows; all else is for training."""
        found = super().storage(optimiser)
        if not self._serves_centres:
            return found._replace(codes=0, training_codes=found.codes)
        own = sum(table.weight.numel() * table.weight.element_size() for table in self.tables)
        centres = sum(table.centres.numel() * table.centres.element_size() for table in self.tables)
        codes = self.codes.packed.numel()
        return found._replace(
            rows=found.rows - own + centres, codes=codes, training_codes=found.codes - centres - codes + own
        )

    def penalty(self, num_examples: int) -> Tensor | None:
        """The distances of rows to centres, once there are clusters."""
        if not self.clustered or not self.options.pull:
            return None
        distances = torch.stack([table.distances() for table in self.tables]).sum()
        return self.options.pull / num_examples * distances

    @classmethod
    def while_training(cls, strategies: Mapping[str, JNKMStrategy], training: Training) -> CentresHook:
        """K-means now and then."""
        return CentresHook(strategies, training, next(iter(strategies.values())).options.interval)

    @torch.no_grad()
    def cluster(self, seed: int) -> None:
        """Find new clusters of the present rows."""
        weights = [table.weight for table in self.tables]

        def rows(ids: Tensor) -> Tensor:
            return torch.cat([weight[ids.to(weight.device)] for weight in weights], dim=1)

        _, codes = k_means(rows, self.num_entities, self.size, seed)
        self.codes.put(codes.unsqueeze(0))
        self.cluster_centres(seed)
        self.clustered = True

    def cluster_centres(self, seed: int) -> None:
        """Find new clusters of the centres, if centres have any."""

    @property
    def _serves_centres(self) -> bool:
        return not self.budget.automatic

    def _bytes_of_roots(self, size: int) -> int:
        return 0

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> CentredTable:
        return CentredTable(
            self.codes, self.num_entities, embedding_dim, self._serves_centres, self.roots, mean=mean, std=std
        )


class CentresHook(ActingHook[JNKMStrategy]):
    """Clusters the rows."""

    what = "clustering"

    @property
    def settled(self) -> bool:
        """Whether centres that are to be served were found."""
        return self.acts > 0 or not any(strategy._serves_centres for strategy in self.strategies.values())

    def act(self, name: str, strategy: JNKMStrategy) -> dict[str, float]:
        """Cluster the rows of one field."""
        strategy.cluster(self.seed)
        inner = sum(float(table.distances().detach()) for table in strategy.tables)
        total = sum(float(table.weight.detach().square().sum()) for table in strategy.tables)
        return {"clusters": float(strategy.num_clusters), "relative distance": inner / max(total, 1e-30)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; rows are drawn to centres if there were any."""
        super().load_state_dict(state)
        for strategy in self.strategies.values():
            strategy.clustered = self.acts > 0
