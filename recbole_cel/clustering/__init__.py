"""Which entities share a row, learned during training. Plain PyTorch."""

from .event import ClusterEvent
from .hierarchy import hierarchy_penalty
from .optimiser import ClusterOptimiser
from .settings import ClusterSettings

__all__ = ["ClusterEvent", "ClusterOptimiser", "ClusterSettings", "hierarchy_penalty"]
