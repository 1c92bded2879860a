"""A data set that reports fewer entities, so that a constructor makes no full table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class PlaceholderSizes:
    """Everything a data set is, except that :meth:`num` gives 1 for some fields.

    RecBole's models size their tables by ``dataset.num(field)`` while they are constructed. Through this view
    they make one placeholder row where N rows would go, and never hold the full table.
    """

    def __init__(self, dataset: Any, fields: Collection[str]) -> None:
        self._dataset = dataset
        self._fields = frozenset(fields)

    def num(self, field: str) -> int:
        """Number of ids of ``field``, or 1 if its table is a placeholder."""
        return 1 if field in self._fields else int(self._dataset.num(field))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not there yet while a copy is being made
            raise AttributeError(name)
        return getattr(self._dataset, name)
