"""Split two fields at once, along what their entities share and no entity has alone."""

from .finder import PairSplit, PairSplitter

__all__ = ["PairSplit", "PairSplitter"]
