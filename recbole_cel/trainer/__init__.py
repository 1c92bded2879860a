"""RecBole's trainer, with clusters."""

from .selection import get_trainer
from .trainer import Trainer

__all__ = ["Trainer", "get_trainer"]
