"""From a model's name to its class."""

from __future__ import annotations

import difflib
import pkgutil
from typing import Any

import recbole.model.context_aware_recommender as context_models
import recbole.utils
from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender

from ..clustering import SettingError
from ..strategies import STRATEGIES, EmbeddingStrategy
from .builder import with_strategy


def split_name(model_name: str) -> tuple[str, type[EmbeddingStrategy[Any]] | None]:
    """``DeepFM_CEL`` is model ``DeepFM`` with the strategy of suffix ``CEL``; other names have no strategy."""
    for strategy in STRATEGIES.values():
        if model_name.endswith(f"_{strategy.suffix}"):
            return model_name[: -len(strategy.suffix) - 1], strategy
    return model_name, None


def full_name(model_name: str, strategy_name: str | None) -> str:
    """The name of a model under ``embedding_strategy``, checked against the strategy that the name has.

    Raises:
        SettingError: if there is no such strategy, or the name says another one.
    """
    if strategy_name is None:
        return model_name
    if strategy_name not in STRATEGIES:
        near = difflib.get_close_matches(str(strategy_name), STRATEGIES, n=1, cutoff=0.0)[0]
        raise SettingError(
            "embedding_strategy",
            f"must be one of {', '.join(STRATEGIES)}, got {strategy_name!r}; did you mean {near}?",
        )
    base, named = split_name(model_name)
    if named is not None and named.name != strategy_name:
        raise SettingError(
            "embedding_strategy",
            f"is {strategy_name}, but model {model_name} is {base} with strategy {named.name}; "
            f"for the former use --model={base} --embedding_strategy={strategy_name}",
        )
    if named is None and strategy_name == "full":
        return model_name
    return f"{base}_{STRATEGIES[strategy_name].suffix}"


def get_model(model_name: str) -> type[AbstractRecommender]:
    """The class of ``model_name``: ours if the name ends in a strategy's suffix, else RecBole's.

    Raises:
        SettingError: if there is no such model, naming the nearest, or if it takes no strategy.
    """
    base_name, strategy = split_name(model_name)
    try:
        base = recbole.utils.get_model(base_name)
    except (ValueError, AttributeError, ImportError) as error:
        # RecBole's search ends at models whose libraries are extras; for these the missing library is the news.
        if isinstance(error, ImportError) and base_name.lower() in ("lightgbm", "xgboost"):
            raise
        known = [module.name for module in pkgutil.iter_modules(context_models.__path__)]
        near = difflib.get_close_matches(base_name.lower(), known, n=1, cutoff=0.0)[0]
        module = __import__(f"{context_models.__name__}.{near}", fromlist=["_"])
        proper = next(name for name in vars(module) if name.lower() == near)
        suffix = f"_{strategy.suffix}" if strategy else ""
        raise SettingError(
            "model", f"{model_name} is unknown: RecBole has no {base_name}; did you mean {proper}{suffix}?"
        ) from error
    if strategy is None:
        return base
    if not issubclass(base, ContextRecommender):
        raise SettingError("model", f"{model_name} is not available: {base_name} is no context-aware recommender")
    return with_strategy(base, strategy)
