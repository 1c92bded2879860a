"""Labels, ratings and sizes of the parts that a data set was split into, checked before training."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.abstract_recommender import ContextRecommender
from recbole.utils import EvaluatorType
from torch import Tensor

from ..model import NonNegativeRecommender
from ..options import SettingError
from .needs import ALSO_OF_LABELS, evaluates_labels, trains_on_labels

# Metrics that mean something for labels only, and those that need both labels.
OF_LABELS = frozenset({"auc", "logloss", "gauc"})
OF_BOTH_LABELS = frozenset({"auc", "gauc"})
MOST_SHOWN = 5


def check_parts(config: Any, train: Any, valid: Any, test: Any) -> None:
    """Check the three data sets of a run.

    Raises:
        SettingError: if a part is empty that shall not be, labels are not 0 or 1 or all equal, ratings are
            negative where the model's are not, or a part has one row where metrics need more.
    """
    parts = {"training": train, "validation": valid, "test": test}
    total = sum(map(len, parts.values()))
    wanted = _wanted_parts(config)
    hint = "fill that part of benchmark_filename" if config["benchmark_filename"] else _split_hint(config)
    for number, (name, part) in enumerate(parts.items()):
        if not len(part) and wanted[number]:
            raise SettingError(
                "dataset",
                f"{config['dataset']} leaves no rows for {name}: there are {total} in all; {hint}",
            )
    ranks = config["eval_type"] == EvaluatorType.RANKING and (len(valid) or len(test))
    if ranks and max(config["topk"]) > train.item_num:
        raise SettingError(
            "topk", f"must be {train.item_num} at most, as there are no more items, got {max(config['topk'])}"
        )
    learned = trains_on_labels(config)
    for name, part, used in (
        ("training", train, learned),
        ("validation", valid, evaluates_labels(config, "valid")),
        ("test", test, evaluates_labels(config, "test")),
    ):
        if used and len(part):
            _check_targets(config, name, part.inter_feat[config["LABEL_FIELD"]])


def _wanted_parts(config: Any) -> list[bool]:
    """Whether training, validation and test shall each have rows."""
    split = config["eval_args"]["split"]
    if config["benchmark_filename"] is not None:
        return [True, True, True]
    if "LS" in split:
        return [True, split["LS"] != "test_only", split["LS"] != "valid_only"]
    return [ratio > 0 for ratio in next(iter(split.values()))]


def _split_hint(config: Any) -> str:
    return f"give more interactions, or another split than eval_args: split {config['eval_args']['split']}"


def _check_targets(config: Any, name: str, targets: Tensor) -> None:
    source = _source(config)
    if targets.dim() != 1:
        raise SettingError(
            "numerical_features", f"must not name {config['LABEL_FIELD']}, which is to be predicted"
        )
    if config["eval_type"] == EvaluatorType.VALUE and name != "training" and len(targets) == 1:
        raise SettingError(
            "dataset",
            f"{config['dataset']} leaves one row for {name}, but {', '.join(config['metrics'])} need several; "
            f"{_split_hint(config)}",
        )
    if config["task"] == "rating":
        _check_ratings(config, name, targets, source)
        return
    metrics = {metric.lower() for metric in config["metrics"]}
    model_class = config.model_class
    # Models of RecBole and ours have the loss of labels; others have one of their own.
    of_labels = issubclass(model_class, ContextRecommender) or config["model"] in ALSO_OF_LABELS
    known = of_labels and model_class.__module__.startswith("recbole")
    kinds = targets.unique()
    if (known or metrics & OF_LABELS) and not torch.isin(kinds, torch.tensor([0.0, 1.0])).all():
        hint = f" such as {{{config['LABEL_FIELD']}: {_middle(kinds):g}}}" if len(kinds) > 1 else ""
        more = ", ..." if len(kinds) > MOST_SHOWN else ""
        found = ", ".join(f"{kind:g}" for kind in kinds[:MOST_SHOWN].tolist())
        raise SettingError(
            config["LABEL_FIELD"],
            f"must be 0 or 1, but {source} holds {found}{more}; set a threshold{hint}, from which the label is 1",
        )
    if len(kinds) == 1 and (name == "training" or metrics & OF_BOTH_LABELS):
        what = "there is nothing to learn" if name == "training" else "AUC is undefined"
        raise SettingError(
            config["LABEL_FIELD"],
            f"is {kinds.item():g} in all {len(targets)} rows of {name} ({source}), so {what}; "
            f"{'change the threshold' if config['threshold'] else 'set a threshold'}, or another split",
        )


def _check_ratings(config: Any, name: str, ratings: Tensor, source: str) -> None:
    negative = int((ratings < 0).sum())
    if negative and issubclass(config.model_class, NonNegativeRecommender):
        raise SettingError(
            config["LABEL_FIELD"],
            f"must not be negative for {config['model']}, but {source} is, in {negative} of {len(ratings)} rows "
            f"of {name}, down to {float(ratings.min()):g}; shift the ratings, or use MF",
        )


def _source(config: Any) -> str:
    """Which column the targets come from, in words."""
    if not config["threshold"]:
        return f"column {config['LABEL_FIELD']}"
    ((field, value),) = config["threshold"].items()
    return f"column {field} with threshold {value:g}"


def _middle(kinds: Tensor) -> float:
    """A value that has some of the sorted ``kinds`` below it."""
    return float(kinds[len(kinds) // 2])
