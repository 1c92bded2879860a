"""What an entity's embedding is made of. Plain PyTorch."""

from .assignment import ClusterAssignment
from .clustered import ClusteredEmbedding
from .hashed import ModuloHashEmbedding

__all__ = ["ClusterAssignment", "ClusteredEmbedding", "ModuloHashEmbedding"]
