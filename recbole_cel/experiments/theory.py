"""The theory of clustered non-negative factorisation, tried: ``python -m recbole_cel.experiments.theory``.

Four tables. Identifiability: from more and more ratings of known clusters and factors, are these found, up to
their order and scale? The number of clusters: is there one that predicts best, and is it the true one? The loss:
does a split alone change it? The saddle: do labels without main effects show where one field is split at a time?
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch
from tabulate import tabulate
from tqdm import tqdm

from ..clustering import ClusterSettings
from ..embedding import levels_of
from .factorisation import Factorisation
from .planted import Truth, factor_errors, local_minima, plant, rand_index
from .ratings import Ratings, authors_ratings, hold_out
from .saddle import Descent, descents
from .training import Recipe, cluster_optimiser, fit, mean_squared_error

RANK, STEPS, BATCH, EVENT_STEPS = 4, 500, 1000, 20


class Found(NamedTuple):
    """A factorisation of planted ratings held against the truth.

    Attributes:
        ratings: number of training ratings.
        noise: standard deviation of the ratings' noise.
        seed: of truth, ratings and training.
        rand_index: adjusted Rand index of the clusters.
        user_error: relative error of the users' rows.
        item_error: relative error of the items' rows.
    """

    ratings: int
    noise: float
    seed: int
    rand_index: float
    user_error: float
    item_error: float


class Curve(NamedTuple):
    """Held-out error over the number of clusters.

    Attributes:
        data: what was fitted.
        clusters: numbers of clusters, rising.
        errors: mean squared error of held-out ratings for each.
    """

    data: str
    clusters: list[int]
    errors: list[float]

    @property
    def best(self) -> int:
        """The number of clusters of the least error."""
        return self.clusters[self.errors.index(min(self.errors))]


def factorise(train: Ratings, clusters: int, seed: int, restarts: int) -> Factorisation:
    """Non-negative factorisation with so many item clusters; of several starts, the one that fits ``train`` best.

    Clusters are split one at a time, with a reassignment in between: splitting all of them at once merges planted
    clusters two by two. Non-negative factorisations have local optima, hence the restarts.
    """
    batch = min(BATCH, len(train.values))
    steps = -(-len(train.values) // batch)
    recipe = Recipe(
        epochs=-(-STEPS // steps),
        batch_size=batch,
        learning_rate=0.1,
        clusters=ClusterSettings(
            split_interval=EVENT_STEPS / steps,
            split_count=1,
            reassign_interval=EVENT_STEPS / steps,
            reassign_slowdown=1.0,
            reassign_gain=0.0,
            split_gain=0.0,  # as many clusters as are asked for
        ),
    )
    models = []
    for restart in range(restarts):
        torch.manual_seed(1000 * seed + restart)
        model = Factorisation(train.num_users, train.num_items, RANK, clusters, start=0.5)
        fit(model, train, recipe, seed + restart)
        models.append((mean_squared_error(model, train), restart, model))
    return min(models)[2]


def planted_problem(seed: int, users: int, items: int, clusters: int) -> tuple[Truth, torch.Generator]:
    """The truth of a seed, and the generator that draws its ratings."""
    generator = torch.Generator().manual_seed(seed)
    return plant(users, items, RANK, clusters, generator), generator


def identify(numbers: Sequence[int], noises: Sequence[float], seeds: Sequence[int], restarts: int) -> list[Found]:
    """Recover 8 planted clusters of 150 items, and the rows of 200 users, from so many ratings."""
    found = []
    cases = [(noise, number, seed) for noise in noises for number in numbers for seed in seeds]
    for noise, number, seed in tqdm(cases, desc="identifiability"):
        truth, generator = planted_problem(seed, users=200, items=150, clusters=8)
        model = factorise(truth.ratings(number, noise, generator), 8, seed, restarts)
        found.append(Found(number, noise, seed, rand_index(truth, model), *factor_errors(truth, model)))
    return found


def planted_curves(clusters: Sequence[int], planted: int, seeds: Sequence[int], restarts: int) -> list[Curve]:
    """Held-out error over the number of clusters, where ``planted`` clusters of 60 items are true."""
    curves = []
    for seed in tqdm(seeds, desc="planted clusters"):
        truth, generator = planted_problem(seed, users=100, items=60, clusters=planted)
        train, test = truth.ratings(6000, 0.3, generator), truth.ratings(20_000, 0.3, generator)
        errors = [mean_squared_error(factorise(train, number, seed, restarts), test) for number in clusters]
        curves.append(Curve(f"planted {planted}, seed {seed}", list(clusters), errors))
    return curves


def movielens_curve(clusters: Sequence[int], seed: int, epochs: int) -> Curve:
    """The same on MovieLens-100K: a tenth of the training rows is held out; 1,682 clusters are no clusters."""
    train, held = hold_out(authors_ratings(seed)[0], 0.1, seed)
    errors = []
    for number in tqdm(clusters, desc="MovieLens-100K"):
        torch.manual_seed(seed)
        model = Factorisation(train.num_users, train.num_items, 16, number, start=(3.5 / 16) ** 0.5)
        settings = ClusterSettings(
            split_interval=0.25, reassign_interval=2.0, reassign_slowdown=1.0, split_gain=0.0
        )
        fit(model, train, Recipe(epochs, user_decay=0.02, item_decay=0.02, clusters=settings), seed)
        errors.append(mean_squared_error(model, held))
    return Curve(f"MovieLens-100K, seed {seed}", list(clusters), errors)


def split_losses(model: Factorisation, train: Ratings, splits: int, seed: int) -> list[tuple[float, float]]:
    """The loss right before and right after each of some splits, with a few steps of training in between.

    Both are computed from the model's ratings, not taken from the event.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    clusters = cluster_optimiser(model, train, ClusterSettings(split_count=1, split_gain=0.0), 1, optimiser, seed)
    pairs = []
    for _ in range(splits):
        for _ in range(3):
            optimiser.zero_grad()
            (model(train.users, train.items) - train.values).square().mean().backward()
            optimiser.step()
            model.project()
        before = mean_squared_error(model, train)
        clusters.split("item")
        pairs.append((before, mean_squared_error(model, train)))
    return pairs


def plot(found: Sequence[Found], curves: Sequence[Curve], saddle: Sequence[Descent], file: Path) -> None:
    """Write a picture: Rand index and factor error over ratings, error over the number of clusters, the saddle.

    Raises:
        ModuleNotFoundError: without matplotlib, which ``pip install 'recbole-cel[plot]'`` brings.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 4), layout="constrained")
    left, middle, right, last = figure.subplots(1, 4)
    for noise in sorted({one.noise for one in found}):
        numbers = sorted({one.ratings for one in found})
        at = [[one for one in found if (one.noise, one.ratings) == (noise, number)] for number in numbers]
        left.plot(numbers, [mean(one.rand_index for one in group) for group in at], "o-", label=f"noise {noise}")
        middle.plot(numbers, [mean(one.item_error for one in group) for group in at], "o-", label=f"noise {noise}")
    left.set(xscale="log", xlabel="ratings", ylabel="adjusted Rand index of the clusters")
    middle.set(xscale="log", yscale="log", xlabel="ratings", ylabel="relative error of the items' rows")
    for curve in curves:
        best = min(curve.errors)
        colour = "silver" if curve.data.startswith("planted") else "black"
        right.plot(curve.clusters, [error / best for error in curve.errors], ".-", label=curve.data, color=colour)
    right.set(xscale="log", yscale="log", xlabel="clusters", ylabel="held-out error, share of the least")
    for descent in saddle:
        last.plot(descent.steps, descent.losses, ".-", label=descent.how)
    last.set(xlabel="steps", ylabel="held-out loss of labels without main effects")
    for axes in (left, middle, last):
        axes.legend()
    # Planted curves look alike; the legend names one of them.
    handles, labels = right.get_legend_handles_labels()
    shown = [number for number, label in enumerate(labels) if number == 0 or not label.startswith("planted")]
    right.legend([handles[number] for number in shown], [labels[number] for number in shown])
    figure.savefig(file, dpi=120)


def identifiability_table(found: Sequence[Found]) -> str:
    """Means and worst cases over the seeds, a row for each noise and number of ratings."""
    rows = []
    for noise, number in dict.fromkeys((one.noise, one.ratings) for one in found):
        group = [one for one in found if (one.noise, one.ratings) == (noise, number)]
        indices = [one.rand_index for one in group]
        errors = mean(one.user_error for one in group), mean(one.item_error for one in group)
        rows.append([noise, number, mean(indices), min(indices), *errors])
    headers = ["noise", "ratings", "Rand index", "worst", "error of users' rows", "error of items' rows"]
    return tabulate(rows, headers=headers, floatfmt=["g", "d", ".3f", ".3f", ".3f", ".3f"])


def curve_table(curves: Sequence[Curve]) -> str:
    """Held-out errors, a row for each curve; curves of different numbers of clusters need tables of their own."""
    rows = [[curve.data, curve.best, local_minima(curve.errors), *curve.errors] for curve in curves]
    headers = ["data", "best", "minima", *map(str, curves[0].clusters)]
    return tabulate(rows, headers=headers, floatfmt=".4f")


def saddle_table(saddle: Sequence[Descent]) -> str:
    """Losses at a few steps, a row for each way to train."""
    steps = saddle[0].steps
    shown = sorted({round(part * (len(steps) - 1) / 4) for part in range(5)})
    rows = [[descent.how, *(descent.losses[n] for n in shown)] for descent in saddle]
    return tabulate(rows, headers=["trained", *(f"step {steps[n]}" for n in shown)], floatfmt=".3f")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the four experiments and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m recbole_cel.experiments.theory", description=__doc__)
    parser.add_argument("--ratings", type=int, nargs="+", default=[1000, 4000, 16_000, 64_000])
    parser.add_argument("--noises", type=float, nargs="+", default=[0.1, 0.5])
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the identifiability table")
    parser.add_argument("--curves", type=int, default=10, help="seeds of the planted curves")
    parser.add_argument("--restarts", type=int, default=5, help="starts of each factorisation of planted ratings")
    parser.add_argument("--planted", type=int, default=6, help="clusters planted for the curves")
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8, 12, 60])
    parser.add_argument(
        "--movielens", type=int, nargs="*", default=[1, 2, 5, 10, 20, 50, 100, 200, 500, 1682], help="clusters"
    )
    parser.add_argument("--epochs", type=int, default=15, help="of a factorisation of MovieLens-100K")
    parser.add_argument("--splits", type=int, default=20, help="splits whose loss is compared")
    parser.add_argument("--saddle", type=int, default=400, help="steps of training on labels without main effects")
    parser.add_argument("--plot", type=Path, help="also write a picture to this file")
    options = parser.parse_args(arguments)

    found = identify(options.ratings, options.noises, range(options.seeds), options.restarts)
    print(
        "Identifiability: 8 planted clusters, means over seeds", identifiability_table(found), sep="\n", end="\n\n"
    )
    curves = planted_curves(options.clusters, options.planted, range(options.curves), options.restarts)
    hits = sum(curve.best == options.planted for curve in curves)
    print("Held-out error over the number of clusters", curve_table(curves), sep="\n")
    print(f"least at the planted number: {hits} of {len(curves)} seeds", end="\n\n")
    if options.movielens:
        real = movielens_curve(options.movielens, 0, options.epochs)
        print(curve_table([real]), end="\n\n")
        curves = [*curves, real]
    truth, generator = planted_problem(0, users=100, items=60, clusters=options.planted)
    train = truth.ratings(6000, 0.3, generator)
    model = Factorisation(train.num_users, train.num_items, RANK, options.splits + 1, start=0.5)
    losses = split_losses(model, train, options.splits, 0)
    largest = max(abs(after - before) for before, after in losses)
    number = levels_of(model.items)[0].assignment.num_clusters
    print(
        f"Loss before and after a split: {len(losses)} splits, {number} clusters, largest difference {largest:g}"
    )
    saddle = descents(options.saddle)
    print("\nHeld-out loss of labels without main effects", saddle_table(saddle), sep="\n")
    if options.plot:
        plot(found, curves, saddle, options.plot)
        print(f"picture: {options.plot}")


if __name__ == "__main__":
    main()
