"""K-means of the rows of many ids: on a sample, then the nearest centre; of many centres in two stages."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

# Rows that centres are found by: so many for each, as is usual, or so few if these made many distances; no more
# than this in all, but one for each in any case.
SAMPLE_OF_CENTRE = 256
FEW_OF_CENTRE = 64
MAX_SAMPLE = 1 << 17
# Distances of a pass over the sample beyond which it is smaller, and then centres are found in two stages.
MANY_DISTANCES = 1 << 26
MAX_PASSES = 20
LARGEST = 1e15
# Distances that are held at once.
TILE = 1 << 23


def bounded(rows: Tensor) -> Tensor:
    """Rows whose squares are numbers, whatever became of them in a training that diverges."""
    return rows.nan_to_num(0.0).clamp(-LARGEST, LARGEST)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest of ``centres`` ``(K, d)`` to each of ``points`` ``(n, d)``, int64; the first of equals."""
    found = [
        (centres.square().sum(1) - 2 * some @ centres.T).argmin(1)
        for some in points.split(max(1, TILE // len(centres)))
    ]
    return torch.cat(found) if found else points.new_zeros(0, dtype=torch.int64)


@torch.no_grad()
def k_means(rows: Callable[[Tensor], Tensor], num_ids: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres ``(K, d)`` of the rows ``(n, d)`` that ``rows`` gives for ids, and the centre of every id ``(N,)``.

    Many centres are found within each of about the square root of their number of groups, in proportion to these.
    An id's centre is then the nearest in its group.

    Args:
        rows: called with some ids, int64, at a time.
        num_ids: number of ids N.
        k: number of centres K, at most N.
        seed: of the sample and of the start.
    """
    most = max(k, min(MAX_SAMPLE, k * SAMPLE_OF_CENTRE, num_ids))
    if most * k > MANY_DISTANCES:
        most = min(most, k * FEW_OF_CENTRE)
    if most * k > MANY_DISTANCES:
        return _in_two_stages(rows, num_ids, k, seed)
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randperm(num_ids, generator=generator)[:most].sort().values
    of_sample = bounded(rows(sample))
    centres = _centres(of_sample, k, seed)
    tiles = torch.arange(num_ids).split(max(1, TILE // k))
    return centres, torch.cat([nearest(bounded(rows(tile)), centres) for tile in tiles])


def _centres(points: Tensor, k: int, seed: int) -> Tensor:
    with warnings.catch_warnings():
        # Fewer different rows than centres are no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(k, n_init=1, max_iter=MAX_PASSES, random_state=seed % 2**32).fit(
            points.float().cpu().numpy()
        )
    return torch.from_numpy(found.cluster_centers_).to(points)


def _in_two_stages(rows: Callable[[Tensor], Tensor], num_ids: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    _, groups = k_means(rows, num_ids, math.isqrt(k), seed)
    order = groups.argsort(stable=True).cpu()
    members = order.split(torch.bincount(groups).tolist())
    members = [ids for ids in members if len(ids)]
    numbers = shares(np.array([len(ids) for ids in members]), k)
    centres, codes, done = list[Tensor](), torch.zeros(num_ids, dtype=torch.int64, device=groups.device), 0
    for ids, number in zip(members, numbers.tolist()):
        of_group = bounded(rows(ids))
        centres.append(_centres(of_group, number, seed))
        codes[ids.to(codes.device)] = done + nearest(of_group, centres[-1])
        done += number
    # Where rows are fewer than centres in some group, the last ones are nobody's.
    centres.append(centres[0][:1].expand(k - done, -1))
    return torch.cat(centres), codes


def shares(sizes: np.ndarray, number: int) -> np.ndarray:
    """``number`` shared out in proportion to ``sizes``, one to each at least and no more than its size."""
    found = 1 + (number - len(sizes)) * sizes // sizes.sum()
    found[np.argsort(-sizes, kind="stable")[: number - found.sum()]] += 1
    return np.minimum(found, sizes)
