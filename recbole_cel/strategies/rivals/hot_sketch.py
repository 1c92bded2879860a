"""Which ids matter most, by a sketch of bounded size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .codes import check_range
from .hashing import hashed

SLOTS = 4
BYTES_OF_A_BUCKET = SLOTS * (4 + 4)
# Buckets are found by a hash of their own.
SALT = 1


class HotSketch(nn.Module):
    """Scores of the ids with the largest ones: buckets with a few slots each, as in SpaceSaving.

    An id belongs to the bucket that its hash says. In a full bucket, a new id takes the place of the one with the
    smallest score, and adds to that score. Of new ids that come at once to a bucket, so many as it has slots are
    taken, those with the largest scores.

    Args:
        num_entities: number of ids N.
        buckets: number of buckets B.

    Attributes:
        ids: buffer of shape ``(B, SLOTS)``, int32; -1 where a slot is free.
        scores: buffer of the same shape, float32; zero where it is free.
    """

    ids: Tensor
    scores: Tensor

    def __init__(self, num_entities: int, buckets: int) -> None:
        super().__init__()
        self.num_entities = num_entities
        self.register_buffer("ids", torch.full((buckets, SLOTS), -1, dtype=torch.int32))
        self.register_buffer("scores", torch.zeros(buckets, SLOTS))

    @torch.no_grad()
    def add(self, ids: Tensor, scores: Tensor) -> None:
        """Add to the scores of ``ids`` ``(n,)``, each there once."""
        buckets = hashed(ids, SALT, len(self.ids))
        found = self.ids[buckets] == ids.unsqueeze(1)
        known = found.any(dim=1)
        self.scores[buckets[known], found[known].int().argmax(dim=1)] += scores[known].to(self.scores)
        order = scores[~known].argsort(descending=True, stable=True)
        ids, scores, buckets = (part[~known][order] for part in (ids, scores, buckets))
        for _ in range(SLOTS):
            if not len(ids):
                return
            # The first of each bucket.
            order = buckets.argsort(stable=True)
            first = torch.zeros_like(known[: len(ids)])
            first[order] = torch.cat([buckets.new_ones(1), buckets[order].diff()]) != 0
            # Free slots have a score of zero, the least.
            least, slots = self.scores[buckets[first]].min(dim=1)
            self.ids[buckets[first], slots] = ids[first].int()
            self.scores[buckets[first], slots] = least + scores[first].to(least)
            ids, scores, buckets = ids[~first], scores[~first], buckets[~first]

    def decay(self, factor: float) -> None:
        """Let all scores fade."""
        self.scores *= factor

    def hottest(self, number: int) -> Tensor:
        """The ids with the largest scores, so many at most, int64; of equals, the smaller id first."""
        used = self.ids >= 0
        ids, scores = self.ids[used].long(), self.scores[used]
        by_id = ids.argsort()
        ids, scores = ids[by_id], scores[by_id]
        return ids[scores.argsort(descending=True, stable=True)[:number]]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if f"{prefix}ids" in state_dict:
            check_range(f"{prefix}ids", state_dict[f"{prefix}ids"], -1, self.num_entities - 1)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
