"""What an entity's embedding is made of. Plain PyTorch."""

from .additive import AdditiveEmbedding, levels_of
from .assignment import ClusterAssignment
from .clustered import ClusteredEmbedding
from .hashed import ModuloHashEmbedding

__all__ = ["AdditiveEmbedding", "ClusterAssignment", "ClusteredEmbedding", "ModuloHashEmbedding", "levels_of"]
