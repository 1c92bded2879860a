"""How much is done at once: what suits a CPU's caches, and on a GPU so much more as its memory has room for."""

from __future__ import annotations

from functools import cache

import torch

# Memory of a GPU for each time that the bound of a CPU is taken, and how often it is taken at most.
MEMORY_OF_ONE = 1 << 30
MAX_TIMES = 64


def at_once(number: int, device: torch.device, most: int = MAX_TIMES) -> int:
    """How many are done at once on ``device``, where a CPU does ``number``: that many ``most`` times, at most.

    It depends on the size of the memory, and not on what is free of it: sums over other parts are rounded
    otherwise, and the same card shall give the same results.
    """
    return number * min(most, _times(device))


@cache
def _times(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    memory: int = torch.cuda.get_device_properties(device).total_memory
    return times_of_memory(memory)


def times_of_memory(memory: int) -> int:
    """How often a GPU with so many bytes takes the bound of a CPU: a power of two."""
    return min(MAX_TIMES, 1 << max(0, (memory // MEMORY_OF_ONE).bit_length() - 1))
