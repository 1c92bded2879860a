"""Matrix factorisation whose items share rows, non-negative if wanted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..embedding import AdditiveEmbedding, level_assignments, level_tables, levels_of
from .ratings import Ratings


class Factorisation(nn.Module):
    """Rating = offset + user bias + item bias + inner product of the user's and the item's row.

    Users have rows of their own. The items' rows, with their biases in the last column, are shared within
    clusters, in one level or as the sum of several.

    Args:
        num_users: number of users.
        num_items: number of items.
        rank: size of a row.
        clusters: rows of the items in all levels together.
        levels: number of levels.
        biases: whether there are biases; without, the offset is zero too.
        non_negative: whether the rows of both sides (not the biases) are kept non-negative by :meth:`project`.
        start: mean of the first rows' entries, which start within half of it.
        offset: what is added to every rating.
        gradient_averaging: divide a shared row's gradient by its cluster's members.
        personalisation: give every item a row and bias of its own, added to the shared ones.
        history: ratings whose users and items (not values) tell who has rated what; a user's row is then its own
            one plus the sum of second rows of the items that the user has rated, divided by the square root of
            their number (SVD++; Koren, 2008). These rows are shared, and personalised, like the first ones.

    Shapes:
        ``(B,)`` user and ``(B,)`` item ids in, ratings ``(B,)`` out.

    Raises:
        ValueError: if the model shall be non-negative and have a history, whose rows are of either sign.
    """

    who_rated_what: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        rank: int,
        clusters: int,
        *,
        levels: int = 1,
        biases: bool = False,
        non_negative: bool = True,
        start: float = 0.1,
        offset: float = 0.0,
        gradient_averaging: bool = False,
        personalisation: bool = False,
        history: Ratings | None = None,
    ) -> None:
        super().__init__()
        if non_negative and history is not None:
            raise ValueError("a non-negative factorisation takes no history, whose rows are of either sign")
        self.biases, self.non_negative, self.offset = biases, non_negative, offset
        width = rank + biases
        self.users = nn.Embedding(num_users, width)
        assignments = level_assignments(num_items, clusters, levels)
        averaged, own = gradient_averaging, personalisation
        tables = level_tables(assignments, width, std=0.0, gradient_averaging=averaged, personalisation=own)
        self.items = AdditiveEmbedding(tables)
        self.history: AdditiveEmbedding | None = None
        if history is not None:
            second = level_tables(assignments, rank, std=0.0, gradient_averaging=averaged, personalisation=own)
            self.history = AdditiveEmbedding(second)
            number = torch.bincount(history.users, minlength=num_users)
            weights = number[history.users].float().rsqrt()
            places = torch.stack([history.users, history.items])
            who = torch.sparse_coo_tensor(places, weights, (num_users, num_items), check_invariants=True)
            self.register_buffer("who_rated_what", who.coalesce(), persistent=False)
        with torch.no_grad():
            for table in (self.users.weight, tables[0].weight):
                if non_negative:
                    table.uniform_(0.5 * start, 1.5 * start)
                else:
                    table.normal_(0.0, start)
                if biases:
                    table[:, -1] = 0.0
            tables[0].weight.mul_(tables[0].assignment.occupied.unsqueeze(1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings ``(B,)``."""
        left, right = self._user_rows(users), self.items(items)
        if not self.biases:
            return torch.linalg.vecdot(left, right)
        rating: Tensor = (left[:, :-1] * right[:, :-1]).sum(1) + left[:, -1] + right[:, -1] + self.offset
        return rating

    def tables(self) -> list[AdditiveEmbedding]:
        """The tables that the clusters of the items share."""
        return [self.items] if self.history is None else [self.items, self.history]

    def history_rows(self) -> Tensor:
        """The second row of every item, shape ``(num_items, rank)``.

        Raises:
            ValueError: if the model has none.
        """
        if self.history is None:
            raise ValueError("the factorisation was made without a history")
        every = torch.arange(self.history.num_embeddings, device=self.users.weight.device)
        rows = self.users.weight.new_zeros(())
        for level in levels_of(self.history):
            # Not a lookup by an interaction, which the cluster optimisation would differentiate by.
            rows = rows + level.rows_of(level.assignment(every))
            if level.personal is not None:
                rows = rows + level.personal
        return rows

    def _user_rows(self, users: Tensor) -> Tensor:
        own: Tensor = self.users(users)
        if self.history is None:
            return own
        rated = torch.sparse.mm(self.who_rated_what, self.history_rows())
        return own + F.pad(F.embedding(users, rated), (0, int(self.biases)))

    def penalty(
        self, users: Tensor, items: Tensor, user_decay: float, item_decay: float, bias_decay: float
    ) -> Tensor:
        """Weighted squared norms of the rows and biases of the given entities, summed, shape ``()``."""
        left, right = self.users(users).square().sum(0), self.items(items).square().sum(0)
        rank = len(left) - self.biases
        weights = left.new_full((2, len(left)), bias_decay)
        weights[0, :rank], weights[1, :rank] = user_decay, item_decay
        return (weights * torch.stack([left, right])).sum()

    @torch.no_grad()
    def project(self) -> None:
        """Raise what is negative to zero, in every row that enters a product, if the model is non-negative.

        Biases may be negative. An item's own row may be as negative as its shared rows are positive.
        """
        if not self.non_negative:
            return
        rank = self.users.embedding_dim - self.biases
        self.users.weight[:, :rank].clamp_(min=0.0)
        for level in levels_of(self.items):
            level.weight[:, :rank].clamp_(min=0.0)
        first = levels_of(self.items)[0]
        if first.personalised and first.personal is not None:
            every = torch.arange(self.items.num_embeddings, device=first.personal.device)
            shared = (self.items(every) - first.personal)[:, :rank]
            first.personal[:, :rank] = torch.maximum(first.personal[:, :rank], -shared)
