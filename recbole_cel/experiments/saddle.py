"""The saddle of two clustered fields, tried: labels without main effects, and three ways to learn them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..clustering import ClusterOptimiser, ClusterSettings
from ..embedding import AdditiveEmbedding, clustered_tables
from ..evidence import ModuleObjective, binary_cross_entropy
from .pairs import Pairs, plant_groups

USERS, ITEMS, LABELS, HELD_OUT, GROUPS = 400, 200, 20_000, 5_000, 4
WIDTH, LEVELS, CLUSTERS, STD = 8, 4, 8, 0.1
PARTS = slice(0, LABELS), slice(LABELS, LABELS + HELD_OUT)
BATCH, EVENT_STEPS = 1000, 20

FULL_TABLES, ONE_FIELD, BOTH_FIELDS = "full tables", "clusters, one field at a time", "clusters, both fields first"


class Descent(NamedTuple):
    """The loss of held-out labels on the way.

    Attributes:
        how: what was trained.
        steps: optimiser steps, rising.
        losses: mean loss of the held-out labels at each, in nats.
    """

    how: str
    steps: list[int]
    losses: list[float]


class TwoFields(nn.Module):
    """Inner product of the rows of a user and an item."""

    def __init__(self, table: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.users, self.items = table(USERS), table(ITEMS)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Logits ``(B,)``."""
        product: Tensor = (self.users(user) * self.items(item)).sum(dim=-1)
        return product


def full_table(number: int) -> nn.Embedding:
    """A row for each of so many ids."""
    table = nn.Embedding(number, WIDTH)
    nn.init.normal_(table.weight, std=STD)
    return table


def clustered_table(number: int) -> AdditiveEmbedding:
    """Shared rows, one in each level to begin with, and codes out of fold."""
    (table,) = clustered_tables(number, [WIDTH], rows=CLUSTERS * LEVELS, levels=LEVELS, std=STD)
    return table


def descend(how: str, pairs: Pairs, steps: int, seed: int) -> Descent:
    """Train on all of ``pairs`` but the last, and look at the loss of these every 20 steps.

    Both kinds of clusters grow and are reassigned every 20 steps; one starts with a joint split.
    """
    torch.manual_seed(seed)
    model = TwoFields(full_table if how == FULL_TABLES else clustered_table)
    train, held = ([column[part] for column in (*pairs.ids, pairs.targets)] for part in PARTS)
    objective = ModuleObjective(model, ["user", "item"], train[:2], train[2])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    clusters = None
    if isinstance(model.users, AdditiveEmbedding) and isinstance(model.items, AdditiveEmbedding):
        fields = {"user": [model.users], "item": [model.items]}
        clusters = ClusterOptimiser(
            fields, objective, ClusterSettings(), steps_per_epoch=LABELS // BATCH, optimiser=optimiser, seed=seed
        )
        if how == BOTH_FIELDS:
            clusters.split_jointly()
    generator = torch.Generator().manual_seed(seed)
    found = Descent(how, [], [])
    for step in range(steps + 1):
        if step % EVENT_STEPS == 0:
            with torch.no_grad():
                loss = binary_cross_entropy(model(*held[:2]), held[2]).mean()
            found.steps.append(step)
            found.losses.append(float(loss))
            if step and clusters is not None:
                clusters.split("user")
                clusters.split("item")
        batch = torch.randint(LABELS, (BATCH,), generator=generator)
        users, items, labels = (column[batch] for column in train)
        optimiser.zero_grad()
        outputs = objective.training_outputs(users, items)
        binary_cross_entropy(outputs, labels).mean().backward()
        optimiser.step()
    return found


def descents(steps: int, seed: int = 0) -> list[Descent]:
    """The three ways, on labels of four planted groups of users and of items."""
    pairs = plant_groups(USERS, ITEMS, LABELS + HELD_OUT, GROUPS, torch.Generator().manual_seed(seed))
    return [descend(how, pairs, steps, seed) for how in tqdm((FULL_TABLES, ONE_FIELD, BOTH_FIELDS), desc="saddle")]
