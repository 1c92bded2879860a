"""What some ids were found to be assigned to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .packed_codes import PackedCodes


class LookedUp:
    """What some ids are assigned to in several levels: looked up packed, and unpacked when it is asked for.

    Args:
        parts: for levels that follow each other: the codes that they share, what was looked up, and which of its
            levels they are.
    """

    def __init__(self, parts: Sequence[tuple[PackedCodes, Tensor, slice]]) -> None:
        self._parts = parts
        self.levels = sum(levels.stop - levels.start for _, _, levels in parts)
        self._by_id: Tensor | None = None
        self._by_level: Tensor | None = None

    def by_id(self) -> Tensor:
        """Clusters of n ids in each of L :attr:`levels`, int64 of shape ``(n, L)``."""
        if self._by_id is None:
            found = [codes.by_id(words, levels) for codes, words, levels in self._parts]
            self._by_id = found[0] if len(found) == 1 else torch.cat(found, dim=1)
        return self._by_id

    def by_level(self) -> Tensor:
        """The same of shape ``(L, n)``."""
        if self._by_level is None:
            found = [codes.by_level(words, levels) for codes, words, levels in self._parts]
            self._by_level = found[0] if len(found) == 1 else torch.cat(found)
        return self._by_level
