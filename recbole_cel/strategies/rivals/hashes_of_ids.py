"""Hash functions of ids: a family that is told apart by a salt."""

from __future__ import annotations

from torch import Tensor

# Odd constants of SplitMix64, as signed 64-bit numbers: multiplication wraps around.
STEP = 0x9E3779B97F4A7C15 - 2**64
MIXERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
OF_SALT = 0x5851F42D
LOW = 2**31 - 1


def hash_ids(ids: Tensor, salt: int | Tensor, values: int) -> Tensor:
    """Numbers ``0 .. values - 1``, int64 in the shape of ``ids``, as if drawn anew for each id and ``salt``."""
    mixed = (ids + 1) * STEP + (salt + 1) * OF_SALT
    for mixer, shift in zip(MIXERS, (30, 27)):
        # Shifts of negative numbers keep their sign, which mixes as well.
        mixed = (mixed ^ (mixed >> shift)) * mixer
    return ((mixed ^ (mixed >> 31)) & LOW) % values
