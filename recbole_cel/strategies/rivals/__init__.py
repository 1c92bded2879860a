"""Rivals of clustered embeddings, each a file."""

from . import (
    cafe,
    cce,
    etree,
    frequency_hash,
    graph_hash,
    hashgnn,
    jnkm,
    prehash,
    product_quantisation,
    pruning,
)

__all__ = [
    "cafe",
    "cce",
    "etree",
    "frequency_hash",
    "graph_hash",
    "hashgnn",
    "jnkm",
    "prehash",
    "product_quantisation",
    "pruning",
]
