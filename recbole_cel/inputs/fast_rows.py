"""Rows of a data set for a batch, looked up by tensors.

RecBole turns the positions of a batch into a list, and PyTorch that list into a tensor again, for every column.
That takes longer than a step of a small model. Here they stay tensors; the batches are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

FEATURES = ("inter_feat", "user_feat", "item_feat")
# Column with the number of each training interaction, in batches only.
NUMBER = "cel_interaction"


class FastRows(Interaction):
    """An ``Interaction`` whose rows are looked up by tensors.

    Attributes:
        numbered: whether rows that are looked up get a column that says which they were.
    """

    numbered = False

    def __getitem__(self, index: Any) -> Any:
        """A column by its name, or the rows at ``index`` as a plain ``Interaction``.

        Args:
            index: name of a column; positions as a tensor, an array or a list; or a slice.
        """
        positions = torch.from_numpy(index) if isinstance(index, np.ndarray) else index
        if not (isinstance(positions, torch.Tensor) and positions.dtype == torch.int64 and positions.dim() == 1):
            return super().__getitem__(index)
        columns: dict[str, torch.Tensor] = self.interaction
        found = {name: column[positions] for name, column in columns.items()}
        return Interaction({**found, NUMBER: positions} if self.numbered else found)


def with_fast_rows(*loaders: Any) -> None:
    """Let RecBole's data loaders take their batches from :class:`FastRows`."""
    for loader in loaders:
        for name in FEATURES:
            features: Any = getattr(loader._dataset, name, None)
            if type(features) is Interaction:
                setattr(loader._dataset, name, FastRows(features.interaction))
