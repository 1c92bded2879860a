"""Features, ratings, rates and sizes of any scale: numbers come out, or one line."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from . import tiny_runs
from .trial import Trial, unless_finite

SECONDS = 40.0
MODELS = ("FM_CEL", "FM_CEL", "DeepFM_CEL", "MF_CEL", "NMF_CEL", "DCN_CEL")


def prepare(folder: Path) -> None:
    tiny_runs.data(folder / "data")


def trial(random: Random, folder: Path) -> Trial:
    model = random.choice(MODELS)
    rated = model in ("MF_CEL", "NMF_CEL")
    given: dict[str, Any] = {"epochs": 2, "cel_folds": random.choice([1, 4]), "cel_levels": random.choice([1, 2])}
    power = random.choice([0.0, 0.0, 1.0, 3.0, 6.0, 9.0, 12.0, 30.0, -9.0])
    feature = [0.0, 5.0, 2000.0][random.randrange(3)], 10.0**power, random.choice([0.0, 0.0, 0.1])
    rating = (
        (10.0 ** random.choice([0, 0, 0, 1, 3, 6, 8, -6]), random.choice([0.0, 0.0, 0.0, -3.0, 1e6]))
        if rated
        else (1.0, 0.0)
    )
    rate = 1e-3
    if random.random() < 0.6:
        rate = given["learning_rate"] = (
            10.0 ** random.uniform(-8, 3) if random.random() < 0.7 else 10.0 ** random.uniform(3, 37)
        )
    if random.random() < 0.3:
        given["weight_decay"] = 10.0 ** random.uniform(-6, 30)
    if random.random() < 0.2:
        given["learner"] = random.choice(["sgd", "adagrad", "rmsprop"])
    if random.random() < 0.2:
        given["cel_personalisation"], given["cel_folds"] = True, 1
    if random.random() < 0.2:
        given["normalize_all"] = not rated
    few = random.random() < 0.15
    plain = (
        rate <= 0.1
        and not {"weight_decay", "learner"} & set(given)
        and feature[2] == 0
        and power <= 3
        and rating == (1.0, 0.0)
        and not few
    )
    start, scale, missing = feature
    of_feature = f"feature {start} + {scale} x with {missing} missing"
    what = f"{model} {given}, {of_feature}, rating {rating[0]} x + {rating[1]}"

    def call() -> Any:
        _write(random, folder, feature, rating, few)
        return tiny_runs.run(model, {**tiny_runs.options(Path("data").resolve(), model), **given}, saved=True)

    return Trial(f"{what}{', all of one item' if few else ''}", call, False if plain else None, unless_finite)


def _write(
    random: Random, folder: Path, feature: tuple[float, float, float], rating: tuple[float, float], few: bool
) -> None:
    source, place = folder / "data" / "tiny", Path("data/tiny")
    place.mkdir(parents=True)
    (place / "tiny.user").write_bytes((source / "tiny.user").read_bytes())
    start, scale, holes = feature
    header, *lines = (source / "tiny.item").read_text().splitlines()
    rows = [line.rpartition("\t") for line in lines]
    items = [f"{ids}\t{'' if random.random() < holes else start + scale * float(x)}" for ids, _, x in rows]
    (place / "tiny.item").write_text("\n".join([header, *items]) + "\n")
    header, *lines = (source / "tiny.inter").read_text().splitlines()
    cells = [line.split("\t") for line in lines]
    ratings = [f"{user}\t{'i0' if few else item}\t{float(x) * rating[0] + rating[1]}" for user, item, x in cells]
    (place / "tiny.inter").write_text("\n".join([header, *ratings]) + "\n")
