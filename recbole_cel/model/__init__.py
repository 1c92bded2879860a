"""RecBole's models with other embedding tables."""

from .builder import StrategyRecommender, clustered_fields, with_strategy
from .registry import full_name, get_model, split_name

__all__ = ["StrategyRecommender", "clustered_fields", "full_name", "get_model", "split_name", "with_strategy"]
