"""Split two fields at once, along what their entities share and no entity has alone."""

from .directions import Directions, find_directions
from .finder import PairSplit, PairSplitter
from .joint_split import JointSplit, split_jointly

__all__ = ["Directions", "JointSplit", "find_directions", "split_jointly"]
