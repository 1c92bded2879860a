"""Models with one ``nn.Embedding`` for each entity field, which they declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..options import SettingError
from ..settings import PREFIX, CELSettings
from ..strategies import EmbeddingStrategy


def separate_widths(model: Any, config: Any, names: Sequence[str], settings: CELSettings) -> dict[str, list[int]]:
    """Widths of the tables of each of the fields ``names`` that a strategy is to make.

    Raises:
        SettingError: if a field has no table in the model.
    """
    used = {config[table.field] for table in model.entity_tables}
    absent = [name for name in names if name not in used]
    if absent:
        raise SettingError(
            f"{PREFIX}fields",
            f"names {absent[0]!r}, which the model does not use; it uses {', '.join(sorted(used))}",
        )
    widths: dict[str, list[int]] = {name: [] for name in names}
    for table in model.entity_tables:
        if config[table.field] in widths and (settings.share_first_order or not table.first_order):
            widths[config[table.field]].append(model.get_submodule(table.path).embedding_dim)
    return widths


def replace_separate_tables(
    model: Any,
    config: Any,
    dataset: Any,
    strategies: Mapping[str, EmbeddingStrategy[Any]],
    settings: CELSettings,
) -> None:
    """Put the strategies' tables in the place of the tables that ``model.entity_tables`` declares.

    Args:
        model: a model whose tables were made with one placeholder row.
        config: RecBole's configuration, which names the fields.
        dataset: the data set, with the true numbers of ids.
        strategies: the strategy of each field.
        settings: the ``cel_*`` options.
    """
    for table in model.entity_tables:
        strategy = strategies.get(config[table.field])
        if strategy is None:
            continue
        parent, _, attribute = table.path.rpartition(".")
        old = model.get_submodule(table.path)
        mean, std = model.initial_rows(table)
        make = strategy.full_table if table.first_order and not settings.share_first_order else strategy.table
        new: nn.Module = make(old.embedding_dim, std, mean)
        setattr(model.get_submodule(parent), attribute, new)
    model.n_users, model.n_items = dataset.num(model.USER_ID), dataset.num(model.ITEM_ID)
