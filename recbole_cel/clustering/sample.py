"""A part of the training data, for what need not look at all of it."""

from __future__ import annotations

import torch
from torch import Tensor

from .objective import Objective


class SampledObjective:
    """Some interactions of an :class:`Objective`, numbered ``0 .. m - 1``.

    Args:
        objective: of all interactions.
        interactions: shape ``(m,)``, numbers of those that are looked at.
    """

    def __init__(self, objective: Objective, interactions: Tensor) -> None:
        self._whole = objective
        self._interactions = interactions

    def entities(self, field: str) -> Tensor:
        """Entity id of ``field`` in every interaction, shape ``(m,)``."""
        return self._whole.entities(field)[self._interactions]

    def folds(self, num_folds: int) -> Tensor:
        """Fold of every interaction, shape ``(m,)``."""
        return self._whole.folds(num_folds)[self._interactions]

    def outputs(self, interactions: Tensor) -> Tensor:
        """Differentiable model outputs of the numbered interactions, shape ``(B,)``."""
        return self._whole.outputs(self._interactions[interactions])

    def targets(self, interactions: Tensor) -> Tensor:
        """What the outputs should be, shape ``(B,)``."""
        return self._whole.targets(self._interactions[interactions])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Element-wise loss; broadcasts."""
        return self._whole.loss(outputs, targets)

    def refresh(self) -> bool:
        """The sample is drawn once; nothing changes."""
        return False


def thinned(entities: Tensor, counts: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Numbers of some interactions, of an entity about ``limit``, drawn at random where it has more.

    Args:
        entities: shape ``(n,)``, entity of each interaction.
        counts: shape ``(N,)``, interactions of each entity.
        limit: about how many interactions of an entity are kept.
        generator: draws them.
    """
    lots = torch.rand(len(entities), generator=generator).to(entities.device)
    return (lots * counts[entities] < limit).nonzero().squeeze(1)
