"""Rivals of clustered embeddings, each a file."""

from . import (
    cce,
    frequency_hash,
)

__all__ = [
    "cce",
    "frequency_hash",
]
