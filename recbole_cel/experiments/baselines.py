"""What a clustered factorisation has to be held against: biases, and regularised least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from ..evidence.grouping import InteractionsByEntity
from .ratings import Ratings


class Biases:
    """Rating = mean + user bias + item bias, both shrunk, fitted by alternating least squares.

    Args:
        ratings: what to fit.
        shrinkage: ratings of deviation zero that every user and item is given on top.
        rounds: rounds of alternation.
    """

    def __init__(self, ratings: Ratings, shrinkage: float, rounds: int = 20) -> None:
        self.mean = ratings.values.mean()
        self.users = ratings.values.new_zeros(ratings.num_users)
        self.items = ratings.values.new_zeros(ratings.num_items)
        for _ in range(rounds):
            for ids, bias in ((ratings.items, self.items), (ratings.users, self.users)):
                rest = ratings.values - self(ratings.users, ratings.items) + bias[ids]
                number = torch.bincount(ids, minlength=len(bias))
                bias.copy_(torch.zeros_like(bias).index_add_(0, ids, rest) / (number + shrinkage))

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings ``(B,)`` of ids ``(B,)``."""
        return self.mean + self.users[users] + self.items[items]


class AlternatingLeastSquares:
    """Rating = biases + inner product, all rows ridge regressions in turn; the residual of the biases is factored.

    The squared norm of a row counts once for each of its ratings, as in ALS-WR (Zhou et al., 2008).

    Args:
        ratings: what to fit.
        rank: size of a row.
        decay: weight of the squared norms.
        shrinkage: see :class:`Biases`.
        rounds: rounds of alternation.
        seed: of the items' first rows.
    """

    def __init__(
        self, ratings: Ratings, rank: int, decay: float, shrinkage: float, rounds: int, seed: int = 0
    ) -> None:
        self.biases = Biases(ratings, shrinkage)
        rest = ratings.values - self.biases(ratings.users, ratings.items)
        generator = torch.Generator().manual_seed(seed)
        self.items = 0.1 * torch.randn(ratings.num_items, rank, generator=generator)
        self.users = torch.zeros(ratings.num_users, rank)
        of_users = InteractionsByEntity(ratings.users, ratings.num_users)
        of_items = InteractionsByEntity(ratings.items, ratings.num_items)
        for _ in range(rounds):
            _regress(self.users, of_users, self.items[ratings.items[of_users.order]], rest[of_users.order], decay)
            _regress(self.items, of_items, self.users[ratings.users[of_items.order]], rest[of_items.order], decay)

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings ``(B,)`` of ids ``(B,)``."""
        return self.biases(users, items) + (self.users[users] * self.items[items]).sum(1)


def _regress(rows: Tensor, index: InteractionsByEntity, inputs: Tensor, targets: Tensor, decay: float) -> None:
    """Ridge regression of each entity's ``targets`` on ``inputs``, both sorted by entity, into ``rows``."""
    sizes = index.counts.tolist()
    identity = torch.eye(rows.shape[1])
    for entity, (x, y) in enumerate(zip(inputs.split(sizes), targets.split(sizes))):
        if len(y):
            rows[entity] = torch.linalg.solve(x.T @ x + decay * len(y) * identity, x.T @ y)
