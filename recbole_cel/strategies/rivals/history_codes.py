"""What an id's history says of it, in a few random directions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from .history import averaging

# Numbers of a block of directions that are held at once.
TILE = 1 << 24


def projected(counts: csr_matrix, directions: int, seed: int, layers: int = 1) -> Iterator[Tensor]:
    """Averages of the counterparts of each id in random directions, in blocks ``(N, b)``, float32.

    Each counterpart has a random Gaussian vector. In further layers, counterparts have the averages of the ids
    that they were with, added to their own vectors, so that ids are alike which share counterparts of like ids.

    Args:
        counts: interactions ``(N, M)``.
        directions: how many in all.
        seed: of the vectors; a block's does not depend on how many there are.
        layers: averages that are taken one after the other.
    """
    forth, back = averaging(counts), averaging(counts.T.tocsr())
    width = max(1, TILE // max(counts.shape))
    for start in range(0, directions, width):
        some = range(start, min(start + width, directions))
        vectors = np.stack(
            [
                np.random.default_rng((seed, number)).standard_normal(counts.shape[1], np.float32)
                for number in some
            ],
            axis=1,
        )
        found = forth @ vectors
        for _ in range(layers - 1):
            found = forth @ (vectors + back @ found)
        yield torch.from_numpy(np.asarray(found, np.float32))
