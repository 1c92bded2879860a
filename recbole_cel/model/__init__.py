"""RecBole's models and ours, with any embedding tables."""

from .builder import StrategyRecommender, clustered_fields, own_options, with_strategy
from .rating import NonNegativeRecommender
from .registry import TASKS, full_name, get_model, split_name, task_of

__all__ = [
    "TASKS",
    "NonNegativeRecommender",
    "StrategyRecommender",
    "clustered_fields",
    "full_name",
    "get_model",
    "own_options",
    "split_name",
    "task_of",
    "with_strategy",
]
