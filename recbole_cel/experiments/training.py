"""How the experiments train a factorisation: mini-batches, a falling learning rate, and cluster events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..clustering import ClusterOptimiser, ClusterSettings, hierarchy_penalty
from ..embedding import levels_of
from ..evidence import ModuleObjective, squared_error
from .factorisation import Factorisation
from .ratings import Ratings


@dataclass(frozen=True)
class Recipe:
    """How to train; the loss is the squared error of a rating plus the penalties.

    Attributes:
        epochs: passes over the ratings.
        batch_size: ratings in a step.
        learning_rate: of Adam at the start; falls linearly to zero.
        user_decay: weight of the squared norm of a user's row, counted once for each of its ratings.
        item_decay: the same of an item's row.
        bias_decay: the same of both biases.
        history_decay: weight of the squared norms of the items' second rows, against the summed loss.
        own_pull: weight of the squared norm of the items' own rows, against the summed loss.
        clusters: schedule and rules of the clusters; intervals are counted in epochs.
    """

    epochs: int
    batch_size: int = 1024
    learning_rate: float = 0.005
    user_decay: float = 0.0
    item_decay: float = 0.0
    bias_decay: float = 0.0
    history_decay: float = 0.0
    own_pull: float = 0.0
    clusters: ClusterSettings = ClusterSettings()


def cluster_optimiser(
    model: Factorisation,
    ratings: Ratings,
    settings: ClusterSettings,
    steps_per_epoch: int,
    optimiser: torch.optim.Optimizer,
    seed: int,
) -> ClusterOptimiser:
    """The cluster optimisation of the model's items under squared error."""
    columns = [ratings.users, ratings.items]
    objective = ModuleObjective(model, ["user", "item"], columns, ratings.values, squared_error)
    return ClusterOptimiser(
        {"item": model.tables()},
        objective,
        settings,
        steps_per_epoch=steps_per_epoch,
        optimiser=optimiser,
        seed=seed,
    )


def fit(
    model: Factorisation,
    ratings: Ratings,
    recipe: Recipe,
    seed: int,
    after_epoch: Callable[[int, float], bool] = lambda epoch, seconds: False,
) -> float:
    """Train ``model`` in place.

    Args:
        model: what to train.
        ratings: the training ratings.
        recipe: how.
        seed: of the order of the ratings and of the cluster optimisation.
        after_epoch: called with the number of epochs done and the seconds that they took; stops the training by
            returning true.

    Returns:
        Seconds of training and cluster events, without those of ``after_epoch``.
    """
    number = len(ratings.values)
    steps = -(-number // recipe.batch_size)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    clusters = cluster_optimiser(model, ratings, recipe.clusters, steps, optimiser, seed)
    first = levels_of(model.items)[0]
    generator = torch.Generator().manual_seed(seed)
    seconds = 0.0
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        for batch in torch.randperm(number, generator=generator).split(recipe.batch_size):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * (1.0 - clusters.steps / (steps * recipe.epochs))
            optimiser.zero_grad()
            users, items = ratings.users[batch], ratings.items[batch]
            loss = squared_error(model(users, items), ratings.values[batch]).sum()
            loss = loss + model.penalty(users, items, recipe.user_decay, recipe.item_decay, recipe.bias_decay)
            penalty = recipe.own_pull * first.personalisation_penalty() if first.personalised else 0.0
            if recipe.history_decay:
                penalty = penalty + recipe.history_decay * model.history_rows().square().sum()
            if recipe.clusters.super_clusters:
                groups, weight = recipe.clusters.super_clusters, recipe.clusters.super_cluster_weight
                for level in levels_of(model.items):
                    penalty = penalty + weight * hierarchy_penalty(level, groups)
            (loss / len(batch) + penalty / number).backward()
            optimiser.step()
            model.project()
            clusters.step()
        seconds += time.perf_counter() - started
        if after_epoch(epoch, seconds):
            break
    return seconds


def mean_squared_error(model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ratings: Ratings) -> float:
    """Mean squared error of a model's ratings, not cut off at the ends of the scale."""
    with torch.no_grad():
        return float(squared_error(model(ratings.users, ratings.items), ratings.values).mean())
