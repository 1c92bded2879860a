"""The views of an entity: its interactions without those of each fold, and all (see ``embedding/folds.py``).

A view has an assignment of its own, made by its interactions; the loss of these is known to second order in the
point that the view is given (see ``whitening.py``). The interactions of one entity in one fold are a *cell*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .codebook import Codebook, sum_of
from .gauss_newton import RowSpread, secant_curvatures
from .grouping import Blocks, Chunk, sum_by_id
from .numerics import check_finite
from .objective import Objective, loss_slope
from .probe import Probe
from .whitening import Whitening

# Conjugate gradients end when the square of what is left is this share of what it was, and after so many steps.
TOLERANCE = 1e-4
MAX_STEPS = 10
# Share of the curvature that is expected, below which there is none.
FLAT = 1e-12


class CurrentLevels(NamedTuple):
    """The levels of a field's embedding as an event finds them, as points.

    Attributes:
        levels: all levels.
        points: of each level, shape ``(K, D)``.
        spread: of the points that entities may have.
        damping: share of the way that views want to go which they are to go.
    """

    levels: Sequence[Codebook]
    points: Sequence[Tensor]
    spread: RowSpread
    damping: float

    @classmethod
    def of(cls, levels: Sequence[Codebook], whitening: Whitening, damping: float = 1.0) -> CurrentLevels:
        """Of these levels."""
        points = [whitening.whiten(level.rows) for level in levels]
        return cls(levels, points, RowSpread.of(points), damping)


class Views:
    """The views of a chunk's entities: without each of F folds, and last with all.

    No interaction is trained with what is assigned without a fold where the entity has none; that follows the view
    with all.

    Args:
        objective: the training loss.
        start: the levels of the field's embedding, as they are now.
        whitening: where rows are as points.
        chunk: entities with their interactions.
        seen: a probe of the chunk.

    Attributes:
        chunk: the same.
        outputs: shape ``(B,)``, of the probe.
        targets: shape ``(B,)``, of the probe.
        weights: shape ``(B,)``, of the probe.
        choice: for each level, the position of each view's cluster among the level's, shape ``(E, F + 1)``.
        at: shape ``(E, F + 1, D)``, the points that the views have at first.
        size: shape ``(E, F)``, interactions of each cell, by their weights.
        evidence: shape ``(E, F + 1)``, interactions of each view, by their weights.
        exists: shape ``(E, F + 1)``, bool, whether the view leaves anything out, or is the one with all.
        gradient: shape ``(E, F + 1, D)``, of the views' losses by the points that they have at first.

    Raises:
        NumericalError: if a gradient is not finite, as when training diverges.
    """

    def __init__(
        self, objective: Objective, start: CurrentLevels, whitening: Whitening, chunk: Chunk, seen: Probe
    ) -> None:
        self.chunk, self.outputs, self.targets, self.weights = chunk, seen.outputs, seen.targets, seen.weights
        self._objective = objective
        self._whitening = whitening
        self._damping = start.damping
        entities, folds = len(chunk.entities), chunk.num_folds
        cells = chunk.owner * folds + chunk.fold
        self.size = sum_by_id(cells, seen.weights, entities * folds).view(entities, folds)
        count = self.size.sum(dim=1, keepdim=True)
        self.evidence = torch.cat([count - self.size, count], dim=1)
        self.exists = torch.cat([self.size > 0, count >= 0], dim=1)
        self.choice = [level.choices(chunk.entities) for level in start.levels]
        self.at = sum_of(start.points, self.choice)

        # Interactions by blocks, each of one entity.
        self._blocks = blocks = Blocks(chunk.owner, entities)
        self._derivative = blocks.pad(whitening.whiten_gradients(seen.jacobian))
        self._fold = blocks.pad(chunk.fold.unsqueeze(1))
        outputs, targets = (blocks.pad(values.unsqueeze(1)) for values in (seen.outputs, seen.targets))
        left_out = self._fold == torch.arange(folds + 1, device=chunk.fold.device)
        shares = self._shares(self.at)
        without = outputs - shares.gather(2, self._fold)
        weights = blocks.pad(seen.weights.unsqueeze(1))
        self._slopes = weights * loss_slope(objective, without + shares, targets.expand_as(shares))
        self.gradient = blocks.sum_products(self._slopes.masked_fill(left_out, 0.0), self._derivative)
        check_finite(self.gradient, "gradients")
        centre = without + (self._derivative @ start.spread.centre).unsqueeze(2)
        secants = secant_curvatures(
            objective, centre, start.spread.distance(self._derivative).unsqueeze(2), targets
        )
        self._curvatures = (weights * secants).expand_as(shares).masked_fill(left_out, 0.0)

    def expected(self) -> Tensor:
        """The targets of the views, by their interactions and by the prior, shape ``(E, F + 1, D)``.

        The least loss, to second order about where they are, plus the prior's: found by conjugate gradients, which
        need products with the curvature only. The mean curvature, which is one, guides them.
        """
        prior = self._whitening.precision
        residual = prior * (self._whitening.mean - self.at) - self.gradient
        guide = self.evidence.unsqueeze(2) + prior
        direction = residual / guide
        steps, agreement = torch.zeros_like(residual), (residual * direction).sum(dim=2, keepdim=True)
        tiny, enough = torch.finfo(residual.dtype).tiny, TOLERANCE * agreement
        for _ in range(MAX_STEPS):
            change = self._curvatures * self._shares(direction)
            product = self._blocks.sum_products(change, self._derivative) + prior * direction
            bent = (direction * product).sum(dim=2, keepdim=True)
            # Where nothing says how far to go, as under saturated outputs, a view stays.
            flat = bent <= FLAT * (guide * direction.square()).sum(dim=2, keepdim=True)
            length = agreement / bent.clamp(min=tiny) * ~flat
            steps += length * direction
            residual = residual - length * product
            guided, before = residual / guide, agreement
            agreement = (residual * guided).sum(dim=2, keepdim=True)
            # A view stops by itself, whatever others are looked at with it.
            goes_on = (agreement > enough) & ~flat
            if not bool(goes_on.any()):
                break
            direction = (guided + agreement / before.clamp(min=tiny) * direction) * goes_on
            agreement = agreement * goes_on
        # Beyond what numbers can say there is no telling where to go.
        steps = torch.where(steps.square().sum(dim=2, keepdim=True).isfinite(), steps, 0.0)
        return self.at + self._damping * steps

    def left_out_gradients(self) -> Tensor:
        """Gradients of the cells' losses by the points that the views without them have at first.

        Shape ``(E, F, D)``.
        """
        inside = self._fold == torch.arange(self.chunk.num_folds, device=self._fold.device)
        return self._blocks.sum_products(self._slopes[..., :-1] * inside, self._derivative)

    def gradient_norms(self) -> Tensor:
        """Norm of the gradient of each entity's loss by its own row, shape ``(E,)``."""
        return self._whitening.unwhiten_gradients(self.gradient[:, -1]).norm(dim=1)

    def training_losses(self) -> Tensor:
        """Weighted loss of each interaction, shape ``(B,)``."""
        return self.losses(self.outputs)

    def losses(self, outputs: Tensor) -> Tensor:
        """Weighted loss of each interaction if it had these ``outputs`` ``(B,)``, in the same shape."""
        return self.weights * self._objective.loss(outputs, self.targets)

    def changes(self, steps: Tensor) -> Tensor:
        """What outputs change by ``(B,)``, to first order, where views have taken ``steps`` ``(E, F + 1, D)``."""
        own = self._blocks.group.unsqueeze(1) * steps.shape[1] + self._fold.squeeze(2)
        taken = steps.flatten(0, 1).index_select(0, own.flatten()).view_as(self._derivative)
        return self._blocks.unpad((self._derivative * taken).sum(dim=2, keepdim=True)).squeeze(1)

    def _shares(self, points: Tensor) -> Tensor:
        """What points ``(E, F + 1, D)`` add to outputs, by block, shape ``(n, length, F + 1)``."""
        of_blocks = points.index_select(0, self._blocks.group)
        return torch.bmm(self._derivative, of_blocks.transpose(1, 2))
