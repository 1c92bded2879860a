"""Runs that are killed or stopped, at random and in the midst of what is delicate; resumed, they end bit-equal."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from . import tiny_runs
from .processes import Moments, ending, fork
from .trial import Trial

SECONDS = 40.0
# Sent at any time; a moment, instead, is of a process that kills itself.
SIGNALS = {name: getattr(signal, name) for name in ("SIGKILL", "SIGINT", "SIGTERM")}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "label": ("FM_CEL", {"cel_split_gain": 0.0}),
    "personal": ("DeepFM_CEL", {"cel_personalisation": True, "cel_personalisation_start": 2, "cel_folds": 1}),
    "rating": ("MF_CEL", {"cel_split_gain": 0.0, "cel_reassign_interval": 1}),
}


def prepare(folder: Path) -> None:
    """What each run gives if it is left alone, and what there is to be killed in."""
    tiny_runs.data(folder / "data")
    for name in RUNS:
        place = folder / name
        place.mkdir()

        def whole(name: str = name, place: Path = place) -> Any:
            os.chdir(place)
            moments = Moments()
            begin = time.monotonic()
            found = ending(*_options(folder, name))
            return {**found, "counts": moments.counts, "seconds": time.monotonic() - begin}

        os.waitpid(fork(whole, place / "alone.json"), 0)
        found = json.loads((place / "alone.json").read_text())
        assert "result" in found, found
        assert min(found["result"]["counts"].values()) > 0, found


def _options(folder: Path, name: str) -> tuple[str, dict[str, Any]]:
    model, more = RUNS[name]
    options = {
        **tiny_runs.options(folder / "data", model),
        "epochs": 4,
        "stopping_step": 9,
        "train_batch_size": 320,
    }
    return model, {**options, "cel_max_clusters": 8, "cel_split_interval": 0.5, **more}


def trial(random: Random, folder: Path) -> Trial:
    name = random.choice(list(RUNS))
    alone = json.loads((folder / name / "alone.json").read_text())["result"]
    kills: list[tuple[str, float]] = []
    for _ in range(random.choice([1, 1, 2])):
        moment = random.choice([*SIGNALS, "SIGKILL", *Moments.NAMES])
        at = (
            random.uniform(0, alone["seconds"]) if moment in SIGNALS else random.randrange(alone["counts"][moment])
        )
        kills.append((moment, at))
    model, given = _options(folder, name)

    def call() -> Any:
        killed = 0
        for moment, at in kills:
            killed += _killed(lambda: ending(model, given), moment, at)
        return {**ending(model, given), "kills": killed}

    def wrong(found: dict[str, Any]) -> str | None:
        differing = [part for part in ("test", "valid", "digest") if found[part] != alone[part]]
        return f"{', '.join(differing)} are not those of the run that was left alone" if differing else None

    return Trial(f"{model}, killed at {kills}", call, False, wrong)


def _killed(run: Callable[[], Any], moment: str, at: float) -> bool:
    """Whether the run was killed by SIGKILL, before it ended."""

    def begin() -> Any:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if moment not in SIGNALS:
            Moments(moment, int(at))
        return run()

    pid = fork(begin, Path("killed.json"))
    if moment in SIGNALS:
        time.sleep(at)
        os.kill(pid, SIGNALS[moment])
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
