"""Which entities share a row, learned during training. Plain PyTorch."""

from .events import ClusterEvent
from .hierarchy import hierarchy_penalty
from .objective import (
    ModuleObjective,
    Objective,
    PointwiseLoss,
    binary_cross_entropy,
    squared_error,
)
from .optimiser import ClusterOptimiser
from .settings import ClusterSettings, SettingError

__all__ = [
    "ClusterEvent",
    "ClusterOptimiser",
    "ClusterSettings",
    "ModuleObjective",
    "Objective",
    "PointwiseLoss",
    "SettingError",
    "binary_cross_entropy",
    "hierarchy_penalty",
    "squared_error",
]
