"""A model class of RecBole's kind, with other embedding tables for its entity fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender
from recbole.utils import FeatureType
from torch import Tensor

from ..inject.placeholder import PlaceholderSizes
from ..inject.separate_tables import replace_separate_tables, separate_widths
from ..inject.stacked_tables import replace_stacked_tables, stacked_widths
from ..options import SettingError, read_options
from ..settings import AUTO, PREFIX, CELSettings, check_fields
from ..strategies import EmbeddingStrategy, FieldBudget, field_budgets, get_strategy
from .made import make_class
from .rating import NonNegativeRecommender


class StrategyRecommender(AbstractRecommender):
    """Mixed in before a model class: the model's own constructor runs, then its tables are replaced.

    Attributes:
        embedding_strategies: the strategy object of each entity field.
        num_examples: rows of all batches of an epoch: interactions, and negatives that are drawn.
        watched: what the loss of a batch is computed within, while steps of training are watched.
    """

    strategy_name: str
    watched: Callable[[Any], AbstractContextManager[None]] | None = None

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
        self.num_examples = max(1, len(dataset))
        sizes = {name: int(dataset.num(name)) for name in names}
        stacked = isinstance(self, ContextRecommender)
        widths = (
            stacked_widths(self, names, settings) if stacked else separate_widths(self, config, names, settings)
        )
        strategy = get_strategy(self.strategy_name)
        options = own_options(strategy, config.final_config_dict)
        shares = budgets(config["embedding_budget"], settings, sizes, widths)
        self.embedding_strategies = strategy.for_fields(shares, settings, options)
        if stacked:
            replace_stacked_tables(self, dataset, self.embedding_strategies, settings)
        else:
            replace_separate_tables(self, config, dataset, self.embedding_strategies, settings)
        if isinstance(self, NonNegativeRecommender):
            self.project()

    def __getstate__(self) -> dict[str, Any]:
        """Without what watches steps of training, which holds the data: copies of the model are its own."""
        return {**self.__dict__, "watched": None}

    @property
    def fold_fields(self) -> list[str]:
        """The fields whose ids decide the fold of an interaction."""
        if isinstance(self, ContextRecommender):
            return list(self.token_field_names)
        return [self.USER_ID, self.ITEM_ID]

    def lookups(self, interaction: Any, fold: int | None = None) -> AbstractContextManager[None]:
        """Within the block, ``interaction`` looks up what it may be trained with, or what leaves ``fold`` out."""
        strategy = get_strategy(self.strategy_name)
        return strategy.lookups([interaction[name] for name in self.fold_fields], fold)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The model's loss, plus what the strategies add to it."""
        with self.lookups(interaction), self.watched(interaction) if self.watched else nullcontext():
            loss: Tensor = super().calculate_loss(interaction)
        for strategy in self.embedding_strategies.values():
            penalty = strategy.penalty(self.num_examples)
            if penalty is not None:
                loss = loss + penalty
        return loss


def own_options(strategy: type[EmbeddingStrategy[Any]], config: Mapping[str, Any]) -> Any:
    """The options of ``strategy`` that only it has, read from ``config`` and checked.

    Raises:
        SettingError: at an unknown key with its prefix, or a bad value.
    """
    return read_options(strategy.Options, strategy.prefix, config) if strategy.prefix else strategy.Options()


def budgets(
    budget: object, settings: CELSettings, sizes: Mapping[str, int], widths: Mapping[str, Sequence[int]]
) -> dict[str, FieldBudget]:
    """What the tables of each field may take: ``embedding_budget``, or else the rows that the settings say."""
    if budget is not None:
        return field_budgets(budget, sizes, widths)
    rows = settings.rows(sizes)
    automatic = settings.max_clusters == AUTO and settings.compression_ratio is None
    return {
        name: FieldBudget(name, sizes[name], tuple(widths[name]), rows=rows[name], automatic=automatic)
        for name in sizes
    }


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
    made: type[AbstractRecommender] = make_class(
        with_strategy, (base, strategy), name, (StrategyRecommender, base), body
    )
    return made
