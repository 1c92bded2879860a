"""What is stored for each id to find its rows; all tables of a field share it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...embedding.packed_codes import smallest_integer_type
from .hashing import hashed


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

    Args:
        num_entities: number of ids N.
        values: codes are ``0 .. values - 1``.
        columns: codes of each id, C.

    Attributes:
        codes: buffer of shape ``(C, N)``, of the smallest integer type.
    """

    codes: Tensor

    def __init__(self, num_entities: int, values: int, columns: int = 1) -> None:
        super().__init__()
        self.values = values
        ids = torch.arange(num_entities)
        drawn = [hashed(ids, salt, values) for salt in range(columns)]
        self.register_buffer("codes", torch.stack(drawn).to(smallest_integer_type(values)))

    def forward(self, ids: Tensor) -> Tensor:
        """Codes ``(C, n)``, int64, of ``ids`` ``(n,)``."""
        return self.codes[:, ids].long()

    def put(self, codes: Tensor) -> None:
        """Take over codes ``(C, N)``."""
        self.codes.copy_(codes)

    @property
    def num_used(self) -> int:
        """Different codes that ids have in the first column."""
        return len(self.codes[0].unique())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if f"{prefix}codes" in state_dict:
            check_range(f"{prefix}codes", state_dict[f"{prefix}codes"], 0, self.values - 1)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def bytes_of_codes(num_entities: int, values: int, columns: int = 1) -> int:
    """Bytes of the buffer."""
    return num_entities * columns * smallest_integer_type(values).itemsize
