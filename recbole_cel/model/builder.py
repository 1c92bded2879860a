"""Any of RecBole's context-aware models, with other embedding tables for its entity fields."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import accumulate, chain
from typing import Any

import numpy as np
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.layers import FMEmbedding, FMFirstOrderLinear
from recbole.utils import FeatureType
from torch import Tensor, nn

from ..clustering import SettingError
from ..embedding import ClusterAssignment, ClusteredEmbedding, cross_fitted
from ..settings import PREFIX, CELSettings, check_fields
from ..strategies import STRATEGIES, EmbeddingStrategy
from .dataset_view import PlaceholderSizes
from .token_table import TokenTable

# Tables of ContextRecommender that hold no ids of token fields, whatever their size.
OTHER_TABLES = {"token_seq_embedding_table", "float_embedding_table", "float_seq_embedding_table"}


class StrategyRecommender(ContextRecommender):
    """Mixed in before a model class: the model's own constructor runs, then its tables are replaced.

    Attributes:
        embedding_strategies: the strategy object of each entity field.
        settings: the ``cel_*`` options.
    """

    strategy_name: str
    token_field_dims: list[int]

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
        self._replace_tables(dataset, sizes)

    @contextmanager
    def cross_fitted(self, interaction: Any) -> Iterator[None]:
        """Within the block, ``interaction`` looks up what was assigned without its folds."""
        assignments = {module for module in self.modules() if isinstance(module, ClusterAssignment)}
        with cross_fitted(assignments, [interaction[name] for name in self.token_field_names]):
            yield

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The model's loss, plus the pull of own rows to their clusters once they are trained."""
        with self.cross_fitted(interaction):
            loss: Tensor = super().calculate_loss(interaction)
        for strategy in self.embedding_strategies.values():
            for module in chain.from_iterable(table.modules() for table in strategy.tables):
                if isinstance(module, ClusteredEmbedding) and module.personalised:
                    weight = self.settings.personalisation_lambda / self._num_interactions
                    loss = loss + weight * module.personalisation_penalty()
        return loss

    def _replace_tables(self, dataset: Any, sizes: dict[str, int]) -> None:
        names = list(self.token_field_names)
        absent = [name for name in sizes if name not in names]
        if absent:
            raise SettingError(
                f"{PREFIX}fields",
                f"names {absent[0]!r}, which the model does not use; it uses {', '.join(names)}",
            )
        stacked = [module.embedding for module in self.modules() if isinstance(module, FMEmbedding)]
        left = [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.Embedding)
            and module.num_embeddings == sum(self.token_field_dims)
            and not any(module is embedding for embedding in stacked)
            and not OTHER_TABLES.intersection(name.split("."))
        ]
        if left:
            base = type(self).__mro__[2].__name__
            raise SettingError(
                "model",
                f"{base} keeps id tables of its own ({', '.join(left)}); it cannot take other tables yet",
            )
        self.token_field_dims = [int(dataset.num(name)) for name in names]
        self.token_field_offsets = np.array([0, *accumulate(self.token_field_dims)][:-1])
        for parent in list(self.modules()):
            for attribute, child in list(parent.named_children()):
                if isinstance(child, FMEmbedding) and len(child.offsets) == len(names):
                    setattr(parent, attribute, self._token_table(parent, child, names))

    def _token_table(self, parent: nn.Module, old: FMEmbedding, names: list[str]) -> TokenTable:
        width = old.embedding.embedding_dim
        # RecBole initialises the stacked table by Xavier, whose deviation depends on the number of rows. The
        # rows start here as they would in the full table.
        std = math.sqrt(2.0 / (sum(self.token_field_dims) + width))
        shared = not isinstance(parent, FMFirstOrderLinear) or self.settings.share_first_order
        own = {}
        for name, strategy in self.embedding_strategies.items():
            own[name] = strategy.table(width, std) if shared else strategy.full_table(width, std)
        return TokenTable(names, self.token_field_dims, own, width, std)


def clustered_fields(settings: CELSettings, config: Any) -> list[str]:
    """The entity fields whose tables are replaced: ``cel_fields``, or the user and the item id field."""
    names = list(settings.fields or [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]])
    if isinstance(settings.max_clusters, dict):
        check_fields(f"{PREFIX}max_clusters", settings.max_clusters, names)
        missing = [name for name in names if name not in settings.max_clusters]
        if missing:
            raise SettingError(f"{PREFIX}max_clusters", f"gives no number for field {missing[0]}")
    return names


@cache
def with_strategy(
    base: type[ContextRecommender], strategy: type[EmbeddingStrategy[Any]]
) -> type[ContextRecommender]:
    """Model class ``base`` with its entity tables made by ``strategy``; called ``<base>_<suffix>``."""
    name = f"{base.__name__}_{strategy.suffix}"
    body = {
        "__doc__": f"{base.__name__} with embedding strategy {strategy.name}.",
        "__module__": __name__,
        "strategy_name": strategy.name,
    }
    return type(name, (StrategyRecommender, base), body)
