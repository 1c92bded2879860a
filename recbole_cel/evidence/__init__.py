"""What the interactions say of the rows that entities have, and should have. Plain PyTorch."""

from .numerics import NumericalError
from .objective import (
    ModuleObjective,
    Objective,
    PointwiseLoss,
    binary_cross_entropy,
    squared_error,
)

__all__ = [
    "ModuleObjective",
    "NumericalError",
    "Objective",
    "PointwiseLoss",
    "binary_cross_entropy",
    "squared_error",
]
