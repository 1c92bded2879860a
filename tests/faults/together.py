"""Several runs of one model, started at once in one folder: each ends as it does alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

from . import tiny_runs
from .processes import fork
from .trial import Trial

SECONDS = 90.0
RATES = (1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2, 5e-2, 1e-1)
MODELS = ("FM_CEL", "MF_CEL")


def _run(folder: Path, model: str, rate: float) -> dict[str, Any]:
    given = {**tiny_runs.options(folder / "data", model), "epochs": 3, "learning_rate": rate}
    result = tiny_runs.run(model, given, saved=True)
    return {"test": dict(result["test_result"]), "valid": dict(result["best_valid_result"])}


def prepare(folder: Path) -> None:
    tiny_runs.data(folder / "data")
    for model in MODELS:
        found = {}
        for rate in RATES:
            place = folder / f"{model}-{rate}"
            place.mkdir()
            os.chdir(place)
            found[str(rate)] = _run(folder, model, rate)
        (folder / f"{model}.json").write_text(json.dumps(found))


def trial(random: Random, folder: Path) -> Trial:
    model = random.choice(MODELS)
    rates = random.sample(RATES, random.choice([2, 2, 4, 8]))
    alone = json.loads((folder / f"{model}.json").read_text())

    def call() -> Any:
        waiting, go = os.pipe()
        children = []
        for rate in rates:

            def run(rate: float = rate) -> Any:
                os.close(go)
                os.read(waiting, 1)  # until all are there
                return _run(folder, model, rate)

            children.append(fork(run, Path(f"ended-{rate}.json")))
        os.close(go)
        for child in children:
            os.waitpid(child, 0)
        return {str(rate): json.loads(Path(f"ended-{rate}.json").read_text()) for rate in rates}

    def wrong(found: dict[str, Any]) -> str | None:
        for rate, ended in found.items():
            if ended.get("result") != alone[rate]:
                return f"learning_rate={rate}: {ended}, but alone {alone[rate]}"
        return None

    return Trial(f"{len(rates)} runs of {model}: {rates}", call, False, wrong)
