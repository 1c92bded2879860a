"""Metrics, and whether they fit each other, the way of evaluation and the metric that stops the training."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from recbole.evaluator import metric_types, metrics_dict
from recbole.utils import EvaluatorType

from ..options import SettingError, shown
from .plain import must_be
from .structures import is_whole, modes_of

# Of RecBole's ranking metrics, the one that counts no list of the first k.
WITHOUT_K = ("gauc",)


def check_evaluation(config: Mapping[str, Any]) -> None:
    """Check ``metrics``, ``topk``, ``valid_metric`` and the modes of ``eval_args``, which is checked itself.

    Raises:
        SettingError: at a metric that is unknown, or that does not go with the rest.
    """
    metrics = config["metrics"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(metrics, list) or not metrics or not all(isinstance(name, str) for name in metrics):
        raise must_be("metrics", "a list of names such as ['AUC','LogLoss']", config["metrics"])
    for name in metrics:
        if name.lower() not in metric_types:
            raise SettingError("metrics", f"names {shown(name)}, which is unknown; did you mean {_nearest(name)}?")
    ranking = [name for name in metrics if metric_types[name.lower()] == EvaluatorType.RANKING]
    values = [name for name in metrics if name not in ranking]
    if ranking and values:
        raise SettingError(
            "metrics",
            f"must be of one kind: ranked lists have {', '.join(ranking)}, and single scores {', '.join(values)}",
        )
    for phase, mode in modes_of(config["eval_args"]).items():
        if ranking and mode == "labeled":
            raise SettingError(
                "metrics",
                f"holds {', '.join(ranking)}, for ranked lists, which need eval_args: mode full or such as "
                f"uni100; it is labeled for {phase}, where metrics such as AUC and LogLoss are right",
            )
        if values and mode == "full":
            raise SettingError(
                "metrics",
                f"holds {', '.join(values)}, for single scores, which need eval_args: mode labeled or such "
                f"as uni100; it is full for {phase}, where metrics such as NDCG and Recall are right",
            )
    _check_topk(config["topk"])
    _check_valid_metric(config, metrics)


def _check_topk(topk: object) -> None:
    numbers = topk if isinstance(topk, list) else [topk]
    if not numbers or not all(is_whole(number, 1, 10**6) for number in numbers):
        raise must_be("topk", "an integer >= 1 or a list of such, as in [5,10]", topk)


def _check_valid_metric(config: Mapping[str, Any], metrics: list[str]) -> None:
    wanted = config["valid_metric"]
    step = config.get("eval_step")
    if isinstance(step, int) and step <= 0:
        return  # nothing is validated
    topk = config["topk"] if isinstance(config["topk"], list) else [config["topk"]]
    found = []
    for name in metrics:
        with_k = metric_types[name.lower()] == EvaluatorType.RANKING and name.lower() not in WITHOUT_K
        found += [f"{name}@{k}" for k in topk] if with_k else [name]
    if not isinstance(wanted, str) or wanted.lower() not in [name.lower() for name in found]:
        raise must_be("valid_metric", f"one of those in metrics, {', '.join(found[:10])}", wanted)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), metric_types, n=1, cutoff=0.0)[0]
    return metrics_dict[near].__name__
