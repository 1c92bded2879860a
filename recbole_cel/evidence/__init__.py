"""What the interactions say of the rows that entities have, and should have. Plain PyTorch."""

from .objective import (
    ModuleObjective,
    Objective,
    PointwiseLoss,
    binary_cross_entropy,
    squared_error,
)

__all__ = [
    "ModuleObjective",
    "Objective",
    "PointwiseLoss",
    "binary_cross_entropy",
    "squared_error",
]
