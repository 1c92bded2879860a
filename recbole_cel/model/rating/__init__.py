"""Models of explicit ratings; each is a file, registered here by its name."""

from .base import NonNegativeRecommender, RatingRecommender, mean_rating
from .mf import MF
from .neunmf import NeuNMF
from .nmf import NMF

RATING_MODELS: dict[str, type[RatingRecommender]] = {model.__name__: model for model in (MF, NMF, NeuNMF)}

__all__ = [
    "MF",
    "NMF",
    "RATING_MODELS",
    "NeuNMF",
    "NonNegativeRecommender",
    "RatingRecommender",
    "mean_rating",
]
