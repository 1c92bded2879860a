"""RecBole's context-aware models, which stack the ids of all token fields in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from recbole.model.layers import FMEmbedding, FMFirstOrderLinear
from torch import nn

from ..options import SettingError
from ..settings import PREFIX, CELSettings
from ..strategies import EmbeddingStrategy
from .token_table import TokenTable

# Tables of ContextRecommender that hold no ids of token fields, whatever their size.
OTHER_TABLES = {"token_seq_embedding_table", "float_embedding_table", "float_seq_embedding_table"}


def stacked_widths(model: Any, names: Sequence[str], settings: CELSettings) -> dict[str, list[int]]:
    """Widths of the tables of each of the fields ``names`` that a strategy is to make.

    Raises:
        SettingError: if the model does not use a field, or keeps id tables of its own.
    """
    used = list(model.token_field_names)
    absent = [name for name in names if name not in used]
    if absent:
        raise SettingError(
            f"{PREFIX}fields",
            f"names {absent[0]!r}, which the model does not use; it uses {', '.join(used)}",
        )
    stacked = [module.embedding for module in model.modules() if isinstance(module, FMEmbedding)]
    left = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and module.num_embeddings == sum(model.token_field_dims)
        and not any(module is embedding for embedding in stacked)
        and not OTHER_TABLES.intersection(name.split("."))
    ]
    if left:
        raise SettingError(
            "model",
            f"{type(model).__name__} keeps id tables of its own ({', '.join(left)}); it cannot take other "
            "tables yet",
        )
    widths = [
        child.embedding.embedding_dim
        for parent, _, child in _stacked_tables(model)
        if settings.share_first_order or not isinstance(parent, FMFirstOrderLinear)
    ]
    return {name: list(widths) for name in names}


def replace_stacked_tables(
    model: Any, dataset: Any, strategies: Mapping[str, EmbeddingStrategy[Any]], settings: CELSettings
) -> None:
    """Put a :class:`TokenTable` with the strategies' tables in the place of every stacked table.

    Args:
        model: a context-aware model whose tables were made with one placeholder row for each of the fields.
        dataset: the data set, with the true numbers of ids.
        strategies: the strategy of each field.
        settings: the ``cel_*`` options.
    """
    names = list(model.token_field_names)
    model.token_field_dims = [int(dataset.num(name)) for name in names]
    model.token_field_offsets = np.array([0, *accumulate(model.token_field_dims)][:-1])
    for parent, attribute, child in _stacked_tables(model):
        shared = not isinstance(parent, FMFirstOrderLinear) or settings.share_first_order
        width = child.embedding.embedding_dim
        setattr(parent, attribute, _token_table(names, model.token_field_dims, width, strategies, shared))


def _stacked_tables(model: Any) -> list[tuple[nn.Module, str, FMEmbedding]]:
    """Tables of all token fields, with the modules and attributes that they are found under."""
    number = len(model.token_field_names)
    return [
        (parent, attribute, child)
        for parent in model.modules()
        for attribute, child in parent.named_children()
        if isinstance(child, FMEmbedding) and len(child.offsets) == number
    ]


def _token_table(
    names: list[str],
    sizes: list[int],
    width: int,
    strategies: Mapping[str, EmbeddingStrategy[Any]],
    shared: bool,
) -> TokenTable:
    # RecBole initialises the stacked table by Xavier, whose deviation depends on the number of rows. The rows
    # start here as they would in the full table.
    std = math.sqrt(2.0 / (sum(sizes) + width))
    own = {
        name: strategy.table(width, std) if shared else strategy.full_table(width, std)
        for name, strategy in strategies.items()
    }
    return TokenTable(names, sizes, own, width, std)
