"""What is stored for each id to find its rows, packed by bits; all tables of a field share it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...embedding.packed_codes import bits_of, join, reach
from .hashing import hashed

# Values of a code by which it is seen how many codes of an id leave half of a budget to the rows.
FEW_VALUES = 16


def check_range(what: str, values: Tensor, low: int, high: int) -> None:
    """Check integers that a file holds before they are looked up with.

    Raises:
        ValueError: if one lies outside ``low .. high``.
    """
    if values.numel():
        least, most = (int(end) for end in values.aminmax())
        if least < low or most > high:
            raise ValueError(f"{what} are {least}..{most}, and must lie in {low}..{high}")


class Codes(nn.Module):
    """So many codes for each id; by a hash of the id until others are put there.

    A code of K values takes ``ceil(log2 K)`` bits. Those of an id follow each other, from the lowest bits up, in
    whole bytes.

    Args:
        num_entities: number of ids N.
        values: codes are ``0 .. values - 1``.
        columns: codes of each id, C.

    Attributes:
        packed: buffer of shape ``(N, bytes)``, uint8.
    """

    packed: Tensor

    def __init__(self, num_entities: int, values: int, columns: int = 1) -> None:
        super().__init__()
        self.values, self.columns, self.bits = values, columns, bits_of(values)
        size = bytes_of_codes(1, values, columns)
        self.register_buffer("packed", torch.zeros(num_entities, size, dtype=torch.uint8))
        ids = torch.arange(num_entities)
        self.put(torch.stack([hashed(ids, salt, values) for salt in range(columns)]))

    def forward(self, ids: Tensor) -> Tensor:
        """Codes ``(C, n)``, int64, of ``ids`` ``(n,)``."""
        return self._unpacked(self.packed[ids])

    @property
    def every(self) -> Tensor:
        """Codes ``(C, N)``, int64, of all ids."""
        return self._unpacked(self.packed)

    def put(self, codes: Tensor) -> None:
        """Take over codes ``(C, N)``."""
        self.packed.zero_()
        for column, of_ids in enumerate(codes.to(self.packed.device, torch.int64)):
            places, shift = self._place(column)
            bits = of_ids << shift
            for number, place in enumerate(places):
                self.packed[:, place] |= (bits >> 8 * number & 255).to(torch.uint8)

    @property
    def num_used(self) -> int:
        """Different codes that ids have in the first column."""
        return len(self.every[0].unique())

    def _place(self, column: int) -> tuple[range, int]:
        """The bytes that a column reaches into, and the bit of the first of them where it begins."""
        return reach(column * self.bits, self.bits)

    def _unpacked(self, packed: Tensor) -> Tensor:
        """Codes ``(C, n)``, int64, from bytes ``(n, bytes)``."""
        mask = (1 << self.bits) - 1
        columns = [join(self._place(column), partial(packed.select, 1)) for column in range(self.columns)]
        return torch.stack(columns) & mask

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        given = state_dict.get(f"{prefix}packed")
        if isinstance(given, Tensor) and given.shape == self.packed.shape:
            if given.dtype != torch.uint8:
                raise ValueError(f"{prefix}packed is of type {given.dtype}, not torch.uint8")
            check_range(f"codes in {prefix}packed", self._unpacked(given), 0, self.values - 1)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def bytes_of_codes(num_entities: int, values: int, columns: int = 1) -> int:
    """Bytes of the buffer."""
    return num_entities * -(-columns * bits_of(values) // 8)
