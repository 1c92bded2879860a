"""How well users and items are served by how active they were in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.evaluator import Collector
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

LEVELS = ("cold", "medium", "warm")


class ActivityRow(NamedTuple):
    """Metrics of the evaluated interactions of one group of users or items.

    ``metrics`` has them by their names; a value is None where the metric means nothing.
    """

    field: str
    level: str
    entities: int
    interactions: int
    metrics: dict[str, float | None]


def label_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """AUC and LogLoss of labels and scores, each of shape ``(n,)``.

    AUC is None where the labels are not both 0 and 1, LogLoss where there are none or the scores are no
    probabilities.
    """
    kinds = set(labels.tolist())
    binary = kinds <= {0.0, 1.0}
    likely = binary and len(labels) > 0 and scores.min() >= 0 and scores.max() <= 1
    return {
        "AUC": float(roc_auc_score(labels, scores)) if binary and len(kinds) == 2 else None,
        "LogLoss": float(log_loss(labels, scores, labels=[0.0, 1.0])) if likely else None,
    }


def rating_metrics(ratings: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """RMSE and MAE of ratings and scores, each of shape ``(n,)``; None where there are none."""
    if not len(ratings):
        return {"RMSE": None, "MAE": None}
    errors = scores - ratings
    return {"RMSE": float(np.sqrt(np.mean(errors**2))), "MAE": float(np.mean(np.abs(errors)))}


ACTIVITY_METRICS = {"label": label_metrics, "rating": rating_metrics}


class ScoreCollector(Collector):
    """RecBole's collector, which also keeps the ids, scores and labels of the last evaluation.

    Args:
        config: RecBole's configuration.
        fields: user and item id field.
    """

    def __init__(self, config: Any, fields: Sequence[str]) -> None:
        super().__init__(config)
        self._fields = list(fields)
        self._parts: list[dict[str, Tensor]] = []

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Take one evaluated batch."""
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if self.register.need("rec.score") and self.register.need("data.label"):
            part = {name: interaction[name].cpu() for name in self._fields}
            part["label"] = interaction[self.config["LABEL_FIELD"]].cpu()
            part["score"] = scores_tensor.detach().cpu()
            self._parts.append(part)

    def take(self) -> dict[str, Tensor]:
        """What was collected since the last call, one tensor of shape ``(n,)`` per name; empty if nothing."""
        parts, self._parts = self._parts, []
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}


def activity_table(
    collected: dict[str, Tensor],
    training_counts: dict[str, Tensor],
    edges: Sequence[int],
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float | None]],
) -> list[ActivityRow]:
    """Metrics by activity.

    Args:
        collected: from :meth:`ScoreCollector.take`.
        training_counts: for each field, training interactions of each id, shape ``(N,)``.
        edges: training interactions from which an id is medium, and warm.
        metrics: of labels and scores.
    """
    rows = []
    bounds = torch.tensor(list(edges))
    for field, counts in training_counts.items():
        level_of = torch.bucketize(counts, bounds, right=True)
        level = level_of[collected[field]]
        for number, name in enumerate(LEVELS):
            of_level = level == number
            labels = collected["label"][of_level].double().numpy()
            scores = collected["score"][of_level].double().numpy()
            ids = len(collected[field][of_level].unique())
            rows.append(ActivityRow(field, name, ids, len(labels), metrics(labels, scores)))
    return rows
