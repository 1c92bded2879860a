"""Hashes of ids: computed anew at each lookup, so that nothing is stored, and alike on all devices."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

# Any of them is below 2^31, so that no product of it and 32 bits exceeds 63 bits.
MULTIPLIERS = (0x2C1B3C6D, 0x297A2D39)
BITS = 32
MASK = 2**BITS - 1
OFFSET = 0x9E3779B9
Number = TypeVar("Number", int, Tensor)


def hash_bits(ids: Tensor, salt: int | Tensor) -> Tensor:
    """32 bits of each of the ``ids``, int64; another ``salt`` gives others, as independent as one can tell.

    Shapes broadcast: ids ``(n, 1)`` with salts ``(k,)`` give ``(n, k)``.
    """
    return _mix(_mix(ids & MASK) ^ _mix((salt + OFFSET) & MASK))


def hashed(ids: Tensor, salt: int | Tensor, size: int) -> Tensor:
    """Each of the ``ids`` as a number in ``0 .. size - 1``, int64, even to within ``size / 2^32``."""
    return hash_bits(ids, salt) % size


def double_hashed(ids: Tensor, size: int, functions: int) -> Tensor:
    """So many hashes of each of the ``ids`` ``(n,)``, of shape ``(n, functions)``; the first two never meet.

    Hash j is ``(h1(i) + (j - 1) g(i)) mod size`` with a stride g from 1 to ``size - 1``, as in double hashing.
    """
    stride = 1 + hashed(ids, 1, max(1, size - 1))
    times = torch.arange(functions, device=ids.device)
    return (hashed(ids, 0, size).unsqueeze(1) + stride.unsqueeze(1) * times) % size


def _mix(bits: Number) -> Number:
    """A bijection of 32 bits in which each bit of the result depends on all bits."""
    bits = bits ^ (bits >> 15)
    bits = (bits * MULTIPLIERS[0]) & MASK
    bits = bits ^ (bits >> 12)
    bits = (bits * MULTIPLIERS[1]) & MASK
    return bits ^ (bits >> 15)
