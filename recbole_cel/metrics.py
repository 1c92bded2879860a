"""Mean squared error, beside RecBole's RMSE and MAE."""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.evaluator import LossMetric, metric_information, metric_types, metrics_dict, smaller_metrics


class MSE(LossMetric):
    """Mean of the squared differences of scores and labels."""

    smaller = True

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The metric under its name, rounded as configured."""
        return dict(self.output_metric("mse", dataobject))

    def metric_info(self, preds: np.ndarray, trues: np.ndarray) -> float:
        """The metric of scores and labels, each of shape ``(n,)``."""
        return float(np.mean((preds.astype(np.float64) - trues) ** 2))


def register_metrics() -> None:
    """Make ``MSE`` known to RecBole's evaluator by the tables that it looks metrics up in."""
    metrics_dict["mse"] = MSE
    metric_information["mse"] = MSE.metric_need
    metric_types["mse"] = MSE.metric_type
    if "mse" not in smaller_metrics:
        smaller_metrics.append("mse")
