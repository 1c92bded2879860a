"""Ratings with known clusters, and how well a model has found them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from ..embedding import levels_of
from .factorisation import Factorisation
from .ratings import Ratings


class Truth(NamedTuple):
    """What ratings were made from.

    Attributes:
        users: shape ``(N, d)``, non-negative rows of the users.
        rows: shape ``(M, d)``, non-negative rows of the item clusters.
        clusters: shape ``(I,)``, cluster of each item; each cluster has as many items as the next, or one more.
    """

    users: Tensor
    rows: Tensor
    clusters: Tensor

    def ratings(self, number: int, noise: float, generator: torch.Generator) -> Ratings:
        """Ratings of ``number`` random pairs: inner products and normal noise of deviation ``noise``."""
        users = torch.randint(0, len(self.users), (number,), generator=generator)
        items = torch.randint(0, len(self.clusters), (number,), generator=generator)
        exact = (self.users[users] * self.rows[self.clusters[items]]).sum(1)
        values = exact + noise * torch.randn(number, generator=generator)
        return Ratings(users, items, values, len(self.users), len(self.clusters))


def plant(users: int, items: int, rank: int, clusters: int, generator: torch.Generator) -> Truth:
    """Non-negative factors that can be identified: half of the users' entries are zero, at random.

    A non-negative factorisation is unique up to order and scale if zeros lie so that no other non-negative
    factors span the same space, which random zeros do once there are many users; of the clusters' rows, the
    first ``rank`` have a single positive entry each (separability; Donoho and Stodden, 2003).

    Raises:
        ValueError: if there are fewer clusters than ``rank``, or fewer items than clusters.
    """
    if not rank <= clusters <= items:
        raise ValueError(f"rank <= clusters <= items must hold, got {rank}, {clusters} and {items}")
    left = torch.rand(users, rank, generator=generator) + 0.5
    left *= torch.rand(users, rank, generator=generator) < 0.5
    rows = 0.25 + torch.rand(clusters, rank, generator=generator)
    rows[:rank] = (1.0 + 0.5 * torch.rand(rank, generator=generator)).diag()
    return Truth(left, rows, torch.randperm(items, generator=generator) % clusters)


def rand_index(truth: Truth, model: Factorisation) -> float:
    """Adjusted Rand index of the model's item clusters (of its first level) and the true ones."""
    (level,) = levels_of(model.items)
    return float(adjusted_rand_score(truth.clusters.numpy(), level.assignment.clusters().numpy()))


@torch.no_grad()
def factor_errors(truth: Truth, model: Factorisation) -> tuple[float, float]:
    """Relative Frobenius errors of the users' and of the items' rows, after the best order and scale of columns.

    Column j of the model is compared with the true column that its directions, users and items together, are
    most like; its scale is the one that fits best by least squares, on each side.
    """
    found = (model.users.weight, model.items(torch.arange(model.items.num_embeddings)))
    planted = (truth.users, truth.rows[truth.clusters])
    likeness = torch.zeros(planted[0].shape[1], found[0].shape[1])
    for one, other in zip(planted, found):
        likeness += torch.nn.functional.normalize(one, dim=0).T @ torch.nn.functional.normalize(other, dim=0)
    true, ours = linear_sum_assignment(-likeness.numpy())
    errors = []
    for one, other in zip(planted, found):
        columns, matched = one[:, true], other[:, ours]
        scale = (columns * matched).sum(0) / matched.square().sum(0).clamp(min=torch.finfo(matched.dtype).tiny)
        errors.append(float((columns - scale * matched).norm() / columns.norm()))
    return errors[0], errors[1]


def local_minima(errors: list[float]) -> int:
    """Number of local minima of a curve; a stretch of equal values counts once."""
    kept = [value for number, value in enumerate(errors) if number == 0 or value != errors[number - 1]]
    fenced = np.array([np.inf, *kept, np.inf])
    return int(((fenced[1:-1] < fenced[:-2]) & (fenced[1:-1] < fenced[2:])).sum())
