"""Codes that are nearer to their targets than those that a choice level by level ends at: iterated local search.

The best choice in each level, given those in the others, is a local optimum. From there some levels of a code are
changed at random, and all are chosen again; the new code is kept where it is nearer. Additive quantisation is
searched in this way (Martinez et al., *Revisiting additive quantization*, ECCV 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...embedding.folds import mixed

# Levels of a code that are changed at a time, some of them twice.
CHANGES = 3
# Share of its loss by which a code has to be better: two levels with the same rows give ties.
SLIGHT = 1e-3
# Entities times rounds: a round for each of many entities would take longer than training, and gain nothing.
MAX_SEARCHED = 1 << 16


# Of the numbers that are mixed.
LARGEST = 1 << 62


class Chance(NamedTuple):
    """What each code is changed by: its own numbers, whatever others are looked at with it.

    Attributes:
        seed: of the event.
        rounds: how often each code is changed.
    """

    seed: int
    rounds: int

    @classmethod
    def of(cls, seed: int, rounds: int, entities: int) -> Chance:
        """With so many rounds for ``entities``, or as many as do not take too long."""
        return cls(seed, min(rounds, MAX_SEARCHED // max(1, entities)))

    def changed(
        self, choices: Sequence[Tensor], keys: Tensor, clusters: Sequence[Tensor], number: int
    ) -> list[Tensor]:
        """Codes of points with some levels changed at random.

        Args:
            choices: for each level, the choice of each point, shape ``(P,)``.
            keys: shape ``(P,)``, int64, what each point is known by.
            clusters: for each level, the choices that there are.
            number: of the round.
        """
        found = [choice.clone() for choice in choices]
        levels = [level for level, some in enumerate(clusters) if len(some) > 1]
        for change in range(CHANGES):
            salt = ((self.seed * self.rounds + number) * CHANGES + change) % LARGEST
            # Mixed once more, for salts are neighbours.
            drawn = mixed([keys, torch.full_like(keys, salt), torch.zeros_like(keys)])
            which, drawn = drawn % len(levels), drawn // len(levels)
            for place, level in enumerate(levels):
                here = (which == place).nonzero().squeeze(1)
                some = clusters[level]
                found[level][here] = some[drawn[here] % len(some)]
        return found
