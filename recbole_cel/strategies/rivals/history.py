"""Who interacted with whom, as a strategy that needs the data sees it."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from ..training import Training


def activity(training: Training, field: str, num_ids: int) -> Tensor:
    """Training interactions of each id, ``(N,)``."""
    ids, _ = training.pairs(field)
    return torch.bincount(ids, minlength=num_ids)


def most_active(counts: Tensor, number: int) -> Tensor:
    """The ``number`` ids with most interactions, the most active first; of equals, the smaller id first."""
    return counts.argsort(descending=True, stable=True)[:number]


def histories(training: Training, field: str, num_ids: int) -> csr_matrix:
    """Interactions of each id with each counterpart, counted, ``(N, M)`` in float32."""
    ids, others = (side.numpy() for side in training.pairs(field))
    shape = (num_ids, int(others.max(initial=0)) + 1)
    return csr_matrix((np.ones(len(ids), np.float32), (ids, others)), shape=shape)


def averaging(counts: csr_matrix) -> csr_matrix:
    """Each row divided by its sum; an empty one stays."""
    total = np.asarray(counts.sum(axis=1)).ravel()
    return (diags(1 / np.maximum(total, 1)) @ counts).tocsr().astype(np.float32)
