"""What an entity's embedding is made of. Plain PyTorch."""

from .additive import AdditiveEmbedding, levels_of
from .assignment import ClusterAssignment, extend_ids, shared_assignments
from .clustered import ClusteredEmbedding
from .folds import LeakError, cross_fitted, fold_of
from .full import FullEmbedding
from .hashed import ModuloHashEmbedding
from .non_negative import project_non_negative
from .packed_codes import PackedCodes
from .row_table import RowTable
from .tables import clustered_tables, level_assignments, level_tables

__all__ = [
    "AdditiveEmbedding",
    "ClusterAssignment",
    "ClusteredEmbedding",
    "FullEmbedding",
    "LeakError",
    "ModuloHashEmbedding",
    "PackedCodes",
    "RowTable",
    "clustered_tables",
    "cross_fitted",
    "extend_ids",
    "fold_of",
    "level_assignments",
    "level_tables",
    "levels_of",
    "project_non_negative",
    "shared_assignments",
]
