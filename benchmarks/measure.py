"""One run of a model, with what the benchmarks report of it."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_logger, init_seed

from recbole_cel.config import Config
from recbole_cel.model import get_model
from recbole_cel.runs.activity import label_metrics
from recbole_cel.trainer import get_trainer


class Group(NamedTuple):
    """Test interactions of cold users or items.

    Attributes:
        interactions: how many there are.
        auc: their AUC; None where their labels are all the same.
        logloss: their LogLoss; None where there are none.
    """

    interactions: int
    auc: float | None
    logloss: float | None


class Measured(NamedTuple):
    """A run.

    Attributes:
        valid: metrics of the best epoch on the validation split.
        test: metrics on the test split.
        cold: test interactions whose user or item has fewer than so many training interactions, by
            ``user < 5`` and the like; empty where items are ranked.
        ratio: how many times fewer parameters the tables of users and items have; 1 for full tables.
        clusters: of each clustered field.
        seconds: wall time of training and validation.
        epochs: number of epochs trained.
        serving: bytes of the entity fields' tables; None for models without a strategy.
        training: the same while training, with the optimiser's state.
    """

    valid: dict[str, float]
    test: dict[str, float]
    cold: dict[str, Group]
    ratio: float
    clusters: list[int | None]
    seconds: float
    epochs: int
    serving: int | None
    training: int | None


def measure(
    model: str,
    dataset: str,
    config_files: Sequence[str],
    options: Mapping[str, Any],
    cold: Sequence[int],
) -> Measured:
    """Train and test ``model``; ``cold`` are the numbers of training interactions below which to look apart."""
    config = Config(model, dataset, list(config_files) or None, dict(options), command_line=False)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(config["model"], config["task"])(config, train_data._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
    start = time.perf_counter()
    _, valid = trainer.fit(train_data, valid_data, show_progress=config["show_progress"])
    seconds = time.perf_counter() - start
    test = trainer.evaluate(test_data, load_best_model=True)
    sizes = trainer.sizes()
    full = sum(size.full_parameters for size in sizes)
    return Measured(
        {name: float(value) for name, value in valid.items()},
        {name: float(value) for name, value in test.items()},
        _cold(train_data._dataset, trainer.collected, cold) if trainer.collected else {},
        full / sum(size.parameters for size in sizes) if sizes else 1.0,
        [size.clusters for size in sizes],
        seconds,
        len(trainer.train_loss_dict),
        sum(size.storage.serving for size in sizes) if sizes else None,
        sum(size.storage.training for size in sizes) if sizes else None,
    )


def program() -> dict[str, Any]:
    """What ran: commit, versions and threads."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=7", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True)
    return {
        "commit": found.stdout.strip() or None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cold(dataset: Any, collected: Mapping[str, torch.Tensor], edges: Sequence[int]) -> dict[str, Group]:
    found = {}
    for name, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        counts = torch.bincount(dataset.inter_feat[field], minlength=dataset.num(field))[collected[field]]
        for edge in edges:
            few = counts < edge
            labels, scores = (collected[key][few].double().numpy() for key in ("label", "score"))
            metrics = label_metrics(labels, scores)
            found[f"{name} < {edge}"] = Group(len(labels), metrics["AUC"], metrics["LogLoss"])
    return found
