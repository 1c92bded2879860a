"""What takes the place of an entity field's table; each strategy is a file, registered here by its name."""

from typing import Any

from .base import EmbeddingStrategy
from .cel import ClusteredStrategy
from .full import FullStrategy
from .modulo_hash import ModuloHashStrategy

STRATEGIES: dict[str, type[EmbeddingStrategy[Any]]] = {
    strategy.name: strategy for strategy in (ClusteredStrategy, FullStrategy, ModuloHashStrategy)
}

__all__ = ["STRATEGIES", "ClusteredStrategy", "EmbeddingStrategy", "FullStrategy", "ModuloHashStrategy"]
