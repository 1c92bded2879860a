"""One run of a model, with what tables and benchmarks report of it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import recbole
import torch
from recbole.utils import init_logger, init_seed

from ..config import Config
from ..inputs.last_batch import without_single_rows
from ..inputs.prepare import prepare_data
from ..model import StrategyRecommender, get_model
from ..runs.activity import ACTIVITY_METRICS
from ..runs.caches import Caches
from ..runs.repeatable import be_repeatable
from ..strategies.budget import BYTES_PER_NUMBER
from ..trainer import Trainer, get_trainer

# What else numbers depend on, where it is installed: it reads the data, clusters rows of rivals, or is one.
LIBRARIES = ("pandas", "scipy", "scikit-learn", "cmfrec")


class Group(NamedTuple):
    """Test interactions of users or items with so many training interactions.

    Attributes:
        interactions: how many there are.
        metrics: such as ``auc`` and ``logloss``; a value is None where it means nothing.
    """

    interactions: int
    metrics: dict[str, float | None]


class Size(NamedTuple):
    """What the tables of users and items take, or full ones would.

    Attributes:
        serving: bytes.
        training: bytes with the optimiser's state.
        parameters: numbers.
    """

    serving: int
    training: int
    parameters: int


class Measured(NamedTuple):
    """A run.

    Attributes:
        valid: metrics of the best epoch on the validation split.
        test: metrics on the test split.
        cold: test interactions by how many training interactions their user or item has, by ``user < 5`` and the
            like, and ``user >= 20`` for the last of the edges; empty where items are ranked.
        clusters: of each clustered field.
        seconds: wall time of training and validation.
        epochs: number of epochs trained.
        size: of the tables of users and items; None for models without a strategy.
        full: the same for full tables.
    """

    valid: dict[str, float]
    test: dict[str, float]
    cold: dict[str, Group]
    clusters: list[int | None]
    seconds: float
    epochs: int
    size: Size | None
    full: Size | None

    @property
    def ratio(self) -> float:
        """How many times fewer parameters the tables of users and items have; 1 for full tables."""
        return self.full.parameters / self.size.parameters if self.size and self.full else 1.0


def measure(
    model: str,
    dataset: str,
    config_files: Sequence[str],
    options: Mapping[str, Any],
    cold: Sequence[int],
    also: Mapping[str, Any] | None = None,
) -> Measured:
    """Train and test ``model``.

    Args:
        model: its name.
        dataset: name of the data set.
        config_files: YAML files.
        options: overrides.
        cold: numbers of training interactions below which to look apart.
        also: options of a second evaluation of the same model on the test split, whose metrics are added; for
            metrics of single scores beside those of ranked lists.
    """
    config = Config(model, dataset, list(config_files) or None, dict(options), command_line=False)
    init_seed(config["seed"], config["reproducibility"])
    be_repeatable(config)
    init_logger(config)
    train_data, valid_data, test_data = prepared(config)
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(config["model"], config["task"])(config, train_data._dataset).to(config["device"])
    train_data = without_single_rows(config, recommender, train_data)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
    with closing(trainer.tensorboard):
        start = time.perf_counter()
        _, valid = trainer.fit(train_data, valid_data, show_progress=config["show_progress"])
        seconds = time.perf_counter() - start
        test = trainer.evaluate(test_data, load_best_model=True)
    cold_groups = groups(trainer, train_data._dataset, cold) if trainer.collected else {}
    if also:
        second = Config(model, dataset, list(config_files) or None, {**options, **also}, command_line=False)
        test = {**test, **_evaluated(second, recommender)}
    size, full = sizes(trainer)
    return Measured(
        {name: float(value) for name, value in valid.items()},
        {name: float(value) for name, value in test.items()},
        cold_groups,
        [field.clusters for field in trainer.sizes()],
        seconds,
        len(trainer.train_loss_dict),
        size,
        full,
    )


def _evaluated(config: Config, recommender: Any) -> dict[str, float]:
    """Metrics of a trained model on the test split under another configuration."""
    init_seed(config["seed"], config["reproducibility"])
    _, _, test_data = prepared(config)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
    with closing(trainer.tensorboard):
        return dict(trainer.evaluate(test_data, load_best_model=False))


def prepared(config: Config) -> list[Any]:
    """The loaders of training, validation and test, made as for a run from the command line.

    Raises:
        SettingError: at whatever in the data no model could be trained on, or if a file that the configuration
            names is none of ours; pickles are not read.
    """
    with Caches(config) as caches:
        _, *loaders = prepare_data(config, caches.data_set, caches.splits)
    return loaders


def sizes(trainer: Trainer) -> tuple[Size | None, Size | None]:
    """What the trained tables of users and items take, and what full ones would.

    Tables that the model makes and never looks up, as LR does, count on neither side: they are those that no
    gradient ever reached.
    """
    model = trainer.model
    if not isinstance(model, StrategyRecommender):
        return None, None
    own, full = Size(0, 0, 0), Size(0, 0, 0)
    for strategy, field in zip(model.embedding_strategies.values(), trainer.sizes()):
        of_field = [field.storage.serving, field.storage.training, field.parameters]
        of_full = [field.full_serving, field.full_training, field.full_parameters]
        for table in strategy.all_tables:
            parameters = list(table.parameters())
            if any(one in trainer.optimizer.state or one.grad is not None for one in parameters):
                continue
            numbers, width = sum(one.numel() for one in parameters), getattr(table, "embedding_dim", 0)
            whole = strategy.num_entities * width
            moments = field.full_training / max(1, field.full_serving)
            of_field = [a - b * numbers for a, b in zip(of_field, (BYTES_PER_NUMBER, BYTES_PER_NUMBER, 1))]
            unused = (BYTES_PER_NUMBER * whole, round(BYTES_PER_NUMBER * whole * moments), whole)
            of_full = [a - b for a, b in zip(of_full, unused)]
        own = Size(*(a + b for a, b in zip(own, of_field)))
        full = Size(*(a + b for a, b in zip(full, of_full)))
    return own, full


def groups(trainer: Trainer, dataset: Any, edges: Sequence[int]) -> dict[str, Group]:
    """Metrics of the last evaluation for users and items with fewer training interactions than each edge.

    A last group has those that reach the last edge.
    """
    found = {}
    metrics = ACTIVITY_METRICS[trainer.config["task"]]
    for name, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        ids = trainer.collected[field]
        counts = torch.bincount(dataset.inter_feat[field], minlength=dataset.num(field))[ids]
        wanted = [(f"{name} < {edge}", counts < edge) for edge in edges]
        wanted += [(f"{name} >= {edge}", counts >= edge) for edge in edges[-1:]]
        for title, of_group in wanted:
            labels, scores = (trainer.collected[key][of_group].double().numpy() for key in ("label", "score"))
            by_name = metrics(labels, scores)
            found[title] = Group(len(labels), {key.lower(): value for key, value in by_name.items()})
    return found


def program() -> dict[str, Any]:
    """What ran: commit of the checkout, if it is one, versions and threads."""
    return {
        "commit": commit(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit of the checkout that the package lies in; None where it is installed, or without git."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(folder), "rev-parse", "--short=7", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "recbole": recbole.__version__,
        **{name: found for name in LIBRARIES if (found := _version(name)) is not None},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def machine() -> str:
    """Name of the processor, and its cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"
