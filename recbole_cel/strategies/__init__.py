"""What takes the place of an entity field's table; each strategy is a file, registered by its name."""

from . import cel, count_decay, full, modulo_hash, rivals
from .base import About, EmbeddingStrategy
from .budget import Cost, FieldBudget, check_budget, field_budgets
from .registry import get_strategy, register_strategy, strategies
from .storage import Storage
from .training import Training, TrainingEvent, TrainingHook

__all__ = [
    "About",
    "Cost",
    "EmbeddingStrategy",
    "FieldBudget",
    "Storage",
    "Training",
    "TrainingEvent",
    "TrainingHook",
    "cel",
    "check_budget",
    "count_decay",
    "field_budgets",
    "full",
    "get_strategy",
    "modulo_hash",
    "register_strategy",
    "rivals",
    "strategies",
]
