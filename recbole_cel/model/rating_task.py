"""RecBole's context-aware models, trained on ratings in place of labels."""

from __future__ import annotations

from functools import cache
from typing import Any

from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor, nn

from ..options import SettingError
from .made import make_class
from .rating import mean_rating


class RatingTask(ContextRecommender):
    """Mixed in before a context-aware model: its logit becomes the difference from the mean rating.

    The loss is the squared error, and predictions are ratings.

    Raises:
        SettingError: if the model computes probabilities itself, so that there is no logit to take.
    """

    mean_rating: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if not isinstance(getattr(self, "loss", None), nn.BCEWithLogitsLoss):
            raise SettingError("task", f"must be label for {config['model']}: it has no output without a sigmoid")
        self.loss = nn.MSELoss()
        self.register_buffer("mean_rating", mean_rating(dataset, config["LABEL_FIELD"]))

    def forward(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""
        outputs: Tensor = super().forward(interaction)
        return outputs + self.mean_rating

    def predict(self, interaction: Any) -> Tensor:
        """Ratings of the interactions, shape ``(B,)``."""
        return self.forward(interaction)


@cache
def on_ratings(base: type[ContextRecommender]) -> type[ContextRecommender]:
    """Context-aware model class ``base``, trained on ratings; of the same name."""
    body = {"__doc__": f"{base.__name__} for ratings.", "__module__": __name__}
    made: type[ContextRecommender] = make_class(on_ratings, (base,), base.__name__, (RatingTask, base), body)
    return made
