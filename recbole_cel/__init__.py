"""Clustered Embedding Learning for RecBole."""

from . import compat

__version__ = "0.1.0"

# Before anything here imports RecBole.
compat.install()
