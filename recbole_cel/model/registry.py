"""From a model's name to its class."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

import recbole.model.context_aware_recommender as context_models
import recbole.utils
import torch
from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender

from ..options import SettingError, shown
from ..strategies import EmbeddingStrategy, get_strategy, strategies
from .builder import takes_strategies, with_strategy
from .rating import RATING_MODELS
from .rating_task import on_ratings

TASKS = ("label", "rating")


def split_name(model_name: str) -> tuple[str, type[EmbeddingStrategy[Any]] | None]:
    """``DeepFM_CEL`` is model ``DeepFM`` with the strategy of suffix ``CEL``; other names have no strategy."""
    for strategy in strategies().values():
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
    wanted = get_strategy(strategy_name)
    base, named = split_name(model_name)
    if named is not None and named.name != strategy_name:
        raise SettingError(
            "embedding_strategy",
            f"is {strategy_name}, but model {model_name} is {base} with strategy {named.name}; "
            f"for the former use --model={base} --embedding_strategy={strategy_name}",
        )
    if named is None and strategy_name == "full":
        return model_name
    return f"{base}_{wanted.suffix}"


def get_model(model_name: str, task: str | None = None) -> type[AbstractRecommender]:
    """The class of ``model_name``: our plain models first, then RecBole's; with the strategy of the suffix.

    Args:
        model_name: such as ``DeepFM``, ``DeepFM_CEL``, ``NMF_CEL``.
        task: one of ``TASKS``, or None for that of the model.

    Raises:
        SettingError: if there is no such model, naming the nearest, or if it takes no strategy or not this task.
    """
    base_name, strategy = split_name(model_name)
    task = task_of(model_name, task)
    suffix = f"_{strategy.suffix}" if strategy else ""
    base: Any = RATING_MODELS.get(base_name) or _recbole_model(base_name, suffix)
    if strategy is not None and not takes_strategies(base):
        raise SettingError(
            "model",
            f"{model_name} is not available: {base_name} is no context-aware recommender, nor one of "
            f"{', '.join(RATING_MODELS)}",
        )
    if task == "rating" and base_name not in RATING_MODELS:
        if not issubclass(base, ContextRecommender):
            raise SettingError("task", f"must be label for {model_name}: it is no context-aware recommender")
        base = on_ratings(base)
    found: type[AbstractRecommender] = base if strategy is None else with_strategy(base, strategy)
    return found


def task_of(model_name: str, task: str | None) -> str:
    """The task that ``model_name`` is trained for, if ``task`` is asked for (or None).

    Raises:
        SettingError: if there is no such task, or the model predicts ratings only.
    """
    if task is not None and task not in TASKS:
        raise SettingError("task", f"must be one of {', '.join(TASKS)}, got {shown(task)}")
    if split_name(model_name)[0] not in RATING_MODELS:
        return task or "label"
    if task == "label":
        raise SettingError("task", f"must be rating for {model_name}, which predicts nothing else")
    return "rating"


def _recbole_model(name: str, suffix: str) -> type[AbstractRecommender]:
    slow = torch.is_anomaly_enabled()
    try:
        found: type[AbstractRecommender] = recbole.utils.get_model(name)
        return found
    except (ValueError, AttributeError, ImportError) as error:
        # RecBole's search ends at models whose libraries are extras; for these the missing library is the news.
        if isinstance(error, ImportError) and name.lower() in ("lightgbm", "xgboost"):
            raise
        nearest = f"{_nearest_model(name)}{suffix}"
        head, _, tail = name.rpartition("_")
        for strategy in strategies().values():
            if head and tail.lower() == strategy.suffix.lower():
                nearest = f"{_nearest_model(head)}_{strategy.suffix}"
        raise SettingError(
            "model", f"{name}{suffix} is unknown: RecBole has no {name or 'such name'}; did you mean {nearest}?"
        ) from error
    finally:
        # Importing SINE makes PyTorch look for numbers that are none in all backward passes from then on.
        torch.autograd.set_detect_anomaly(slow)


def _nearest_model(name: str) -> str:
    ours = {model.lower(): model for model in RATING_MODELS}
    known = [module.name for module in pkgutil.iter_modules(context_models.__path__)]
    near = difflib.get_close_matches(name.lower(), [*ours, *known], n=1, cutoff=0.0)[0]
    if near in ours:
        return ours[near]
    module = importlib.import_module(f"{context_models.__name__}.{near}")
    return next(attribute for attribute in vars(module) if attribute.lower() == near)
