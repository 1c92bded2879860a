"""How a model says which of its tables belong to which entity field."""

from __future__ import annotations

from typing import NamedTuple


class EntityTable(NamedTuple):
    """One ``nn.Embedding`` of a model, with a row for every id of a field.

    Attributes:
        path: where the table is in the model, as in ``get_submodule``.
        field: configuration key of the field's name, such as ``USER_ID_FIELD``.
        first_order: whether it holds first-order weights (biases).
    """

    path: str
    field: str
    first_order: bool = False


class InitialRows(NamedTuple):
    """Mean and standard deviation that a table's rows are drawn with."""

    mean: float
    std: float
