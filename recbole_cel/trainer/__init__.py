"""Training, checkpoints, and what a run reports."""

from ..runs.checkpoint import CheckpointError
from .trainer import Trainer, get_trainer

__all__ = ["CheckpointError", "Trainer", "get_trainer"]
