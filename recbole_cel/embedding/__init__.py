"""What an entity's embedding is made of. Plain PyTorch."""

from .additive import AdditiveEmbedding, levels_of
from .assignment import ClusterAssignment, smallest_integer_type
from .clustered import ClusteredEmbedding
from .folds import LeakError, cross_fitted, fold_of
from .full import FullEmbedding
from .hashed import ModuloHashEmbedding
from .non_negative import project_non_negative
from .row_table import RowTable

__all__ = [
    "AdditiveEmbedding",
    "ClusterAssignment",
    "ClusteredEmbedding",
    "FullEmbedding",
    "LeakError",
    "ModuloHashEmbedding",
    "RowTable",
    "cross_fitted",
    "fold_of",
    "levels_of",
    "project_non_negative",
    "smallest_integer_type",
]
