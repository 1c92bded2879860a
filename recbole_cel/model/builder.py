"""A model class of RecBole's kind, with other embedding tables for its entity fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from itertools import chain
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender
from recbole.utils import FeatureType
from torch import Tensor

from ..clustering import hierarchy_penalty
from ..embedding import ClusterAssignment, ClusteredEmbedding, cross_fitted
from ..inject.placeholder import PlaceholderSizes
from ..inject.separate_tables import replace_separate_tables
from ..inject.stacked_tables import replace_stacked_tables
from ..options import SettingError
from ..settings import PREFIX, CELSettings, check_fields
from ..strategies import STRATEGIES, EmbeddingStrategy
from .rating import NonNegativeRecommender


class StrategyRecommender(AbstractRecommender):
    """Mixed in before a model class: the model's own constructor runs, then its tables are replaced.

    Attributes:
        embedding_strategies: the strategy object of each entity field.
        settings: the ``cel_*`` options.
    """

    strategy_name: str

    def __init__(self, config: Any, dataset: Any) -> None:
        settings = CELSettings.from_config(config.final_config_dict)
        names = clustered_fields(settings, config)
        for name in names:
            if name not in dataset.field2type or dataset.field2type[name] != FeatureType.TOKEN:
                tokens = dataset.fields(ftype=[FeatureType.TOKEN])
                raise SettingError(
                    f"{PREFIX}fields",
                    f"names {name!r}, which is no token field of data set {config['dataset']}; "
                    f"its token fields are {', '.join(tokens)}",
                )
        super().__init__(config, PlaceholderSizes(dataset, names))
        self.settings = settings
        self._num_interactions = max(1, len(dataset))
        sizes = {name: int(dataset.num(name)) for name in names}
        rows = settings.rows(sizes)
        make = STRATEGIES[self.strategy_name]
        self.embedding_strategies = {name: make(sizes[name], rows[name], settings) for name in names}
        if isinstance(self, ContextRecommender):
            replace_stacked_tables(self, dataset, self.embedding_strategies, settings)
        else:
            replace_separate_tables(self, config, dataset, self.embedding_strategies, settings)
        if isinstance(self, NonNegativeRecommender):
            self.project()

    @property
    def fold_fields(self) -> list[str]:
        """The fields whose ids decide the fold of an interaction."""
        if isinstance(self, ContextRecommender):
            return list(self.token_field_names)
        return [self.USER_ID, self.ITEM_ID]

    @contextmanager
    def cross_fitted(self, interaction: Any, fold: int | None = None) -> Iterator[None]:
        """Within the block, ``interaction`` looks up what was assigned without its folds, or without the given."""
        with cross_fitted(self._assignments, [interaction[name] for name in self.fold_fields], fold):
            yield

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The model's loss, plus the pulls of own rows (once they are trained) and of shared rows, if wanted."""
        with self.cross_fitted(interaction):
            loss: Tensor = super().calculate_loss(interaction)
        for table in self._clustered:
            if table.personalised:
                weight = self.settings.personalisation_lambda / self._num_interactions
                loss = loss + weight * table.personalisation_penalty()
            if self.settings.super_clusters:
                weight = self.settings.super_cluster_weight / self._num_interactions
                loss = loss + weight * hierarchy_penalty(table, self.settings.super_clusters)
        return loss

    # Walking through all modules at each batch would cost more than some of the batch's work.
    @cached_property
    def _clustered(self) -> list[ClusteredEmbedding]:
        tables = chain.from_iterable(strategy.tables for strategy in self.embedding_strategies.values())
        modules = chain.from_iterable(table.modules() for table in tables)
        return [module for module in modules if isinstance(module, ClusteredEmbedding)]

    @cached_property
    def _assignments(self) -> set[ClusterAssignment]:
        return {module for module in self.modules() if isinstance(module, ClusterAssignment)}


def clustered_fields(settings: CELSettings, config: Any) -> list[str]:
    """The entity fields whose tables are replaced: ``cel_fields``, or the user and the item id field."""
    names = list(settings.fields or [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]])
    if isinstance(settings.max_clusters, dict):
        check_fields(f"{PREFIX}max_clusters", settings.max_clusters, names)
        missing = [name for name in names if name not in settings.max_clusters]
        if missing:
            raise SettingError(f"{PREFIX}max_clusters", f"gives no number for field {missing[0]}")
    return names


def takes_strategies(base: type[AbstractRecommender]) -> bool:
    """Whether the tables of model class ``base`` can be replaced: stacked ones, or those that it declares."""
    return issubclass(base, ContextRecommender) or hasattr(base, "entity_tables")


@cache
def with_strategy(
    base: type[AbstractRecommender], strategy: type[EmbeddingStrategy[Any]]
) -> type[AbstractRecommender]:
    """Model class ``base`` with its entity tables made by ``strategy``; called ``<base>_<suffix>``."""
    name = f"{base.__name__}_{strategy.suffix}"
    body = {
        "__doc__": f"{base.__name__} with embedding strategy {strategy.name}.",
        "__module__": __name__,
        "strategy_name": strategy.name,
    }
    return type(name, (StrategyRecommender, base), body)
