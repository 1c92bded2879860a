"""K-means of the rows of many ids: on a sample, then the nearest centre for everybody by tiles."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

# Rows that centres are found by: so many for each, and no more than this in all (but one for each in any case).
SAMPLE_OF_CENTRE = 64
MAX_SAMPLE = 1 << 17
# Distances of a pass over the sample beyond which it is seen by small batches only.
MANY_DISTANCES = 1 << 26
BATCH = 1 << 12
# Passes over the sample.
MAX_PASSES, MAX_PASSES_OF_MANY = 20, 3
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
def k_means(
    rows: Callable[[Tensor], Tensor], num_ids: int, k: int, seed: int, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Centres ``(K, d)`` of the rows ``(n, d)`` that ``rows`` gives for ids, and the centre of every id ``(N,)``.

    Args:
        rows: called with some ids, int64, at a time.
        num_ids: number of ids N.
        k: number of centres K, at most N.
        seed: of the sample and of the start.
        start: centres ``(K, d)`` to start from; by default some of the rows.
    """
    generator = torch.Generator().manual_seed(seed)
    most = max(k, min(MAX_SAMPLE, k * SAMPLE_OF_CENTRE))
    sample = torch.randperm(num_ids, generator=generator)[:most].sort().values if num_ids > most else None
    of_sample = bounded(rows(torch.arange(num_ids) if sample is None else sample))
    points = of_sample.float().cpu().numpy()
    many = len(points) * k > MANY_DISTANCES
    init = ("random" if many else "k-means++") if start is None else bounded(start).float().cpu().numpy()
    options = {"init": init, "n_init": 1, "random_state": seed % 2**32}
    if many:
        found = MiniBatchKMeans(k, batch_size=BATCH, max_iter=MAX_PASSES_OF_MANY, **options)
    else:
        found = KMeans(k, max_iter=MAX_PASSES, **options)
    with warnings.catch_warnings():
        # Fewer different rows than centres are no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(points)
    centres = torch.from_numpy(found.cluster_centers_).to(of_sample)
    tiles = torch.arange(num_ids).split(max(1, TILE // k))
    return centres, torch.cat([nearest(bounded(rows(tile)), centres) for tile in tiles])
