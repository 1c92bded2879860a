"""The views of an entity: its interactions without those of each fold, and all (see ``embedding/folds.py``).

A view has an assignment of its own, made by its interactions; the loss of these is known to second order in the
row that the view is given (see ``quadratic.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .grouping import Blocks, Chunk
from .level import Level
from .objective import Objective, loss_slope
from .probe import Probe
from .quadratic import Quadratic, Reach, curvatures


class Views:
    """The views of a chunk's entities, with their losses to second order in the row.

    There is a view for each cell of the chunk, which is what is assigned without that cell's interactions, and
    after these a view for each entity, which is what is assigned with all. No interaction is trained with what is
    assigned without a fold where the entity has none; that follows the view with all.

    Args:
        objective: the training loss.
        levels: all levels of the field's embedding, as they are now.
        chunk: entities with their interactions.
        seen: a probe of the chunk.

    Attributes:
        chunk: the same.
        seen: the same.
        owner: shape ``(V,)``, position of each view's entity in the chunk.
        fold: shape ``(V,)``, the fold that each view leaves out, F where it leaves out none.
        evidence: shape ``(V,)``, number of interactions in the view.
        known: shape ``(V,)``, bool, whether there are any.
        rows: shape ``(V, D)``, the rows that the views have at first.
        gradients: shape ``(V, D)``, of the views' losses by these.
        left_out_gradients: shape ``(C, D)``, of the losses of the cells, which the first C views leave out.
    """

    def __init__(self, objective: Objective, levels: Sequence[Level], chunk: Chunk, seen: Probe) -> None:
        self._objective = objective
        self.seen = seen
        self.chunk = chunk
        everyone = torch.arange(len(chunk.entities), device=chunk.owner.device)
        sizes = chunk.cell_sizes()
        counts = torch.bincount(chunk.owner, minlength=len(everyone))
        self.owner = torch.cat([chunk.cell_owner, everyone])
        self.fold = torch.cat([chunk.cell_fold, torch.full_like(everyone, chunk.num_folds)])
        self.evidence = torch.cat([counts[chunk.cell_owner] - sizes, counts])
        self.known = self.evidence > 0
        self.rows = torch.stack([level.rows[level.column[self.assigned(level)]] for level in levels]).sum(dim=0)
        self._reach = reach_of(levels)
        self.left_out_gradients, self.gradients = self._find_gradients()

    def losses(self) -> Quadratic:
        """Losses of the views' interactions as functions of the row."""
        chunk, trained = self.chunk, self.rows[: len(self.left_out_gradients)]
        cells = curvatures(self._objective, chunk, self.seen, trained, self._reach)
        by_entity = cells.new_zeros((len(chunk.entities), *cells.shape[1:]))
        by_entity.index_add_(0, chunk.cell_owner, cells)
        views = torch.cat([by_entity[chunk.cell_owner] - cells, by_entity])
        return Quadratic.about(self.rows, self.gradients, views)

    def training_losses(self) -> Tensor:
        """Loss of each interaction, shape ``(B,)``."""
        return self._objective.loss(self.seen.outputs, self.seen.targets)

    def assigned(self, level: Level) -> Tensor:
        """Cluster of each view, shape ``(V,)``."""
        return level.assignment.views(self.chunk.entities)[self.owner, self.fold]

    def moved_outputs(self, steps: Tensor) -> Tensor:
        """Outputs ``(B,)``, to first order, where the row of each view has taken a step ``(V, D)``."""
        return self.seen.outputs + (self.seen.jacobian * steps[self.chunk.cell]).sum(dim=1)

    def _find_gradients(self) -> tuple[Tensor, Tensor]:
        """Gradients by the row of the losses of the cells, shape ``(C, D)``, and of the views, ``(V, D)``."""
        chunk, fold = self.chunk, self.chunk.cell_fold[self.chunk.cell].unsqueeze(1)
        blocks = Blocks(chunk.owner, len(chunk.entities))
        jacobian, rows = blocks.pad(self.seen.jacobian), dense(chunk, self.rows)[blocks.group]
        shares = blocks.unpad(torch.bmm(jacobian, rows.transpose(1, 2)))
        outputs = self.seen.outputs.unsqueeze(1) + shares - shares.gather(1, fold)
        slopes = loss_slope(self._objective, outputs, self.seen.targets.unsqueeze(1).expand_as(outputs))
        outside = blocks.pad(slopes.scatter(1, fold, 0.0))
        of_views = blocks.sum_products(outside, jacobian)
        of_cells = chunk.sum_by_cell(slopes.gather(1, fold) * self.seen.jacobian)
        return of_cells, of_views[self.owner, self.fold]


def dense(chunk: Chunk, values: Tensor) -> Tensor:
    """What a chunk's views ``(V, ...)`` are given, by entity and left-out fold, shape ``(E, F + 1, ...)``."""
    cells = len(chunk.cell_owner)
    every = values[cells:].unsqueeze(1).repeat(1, chunk.num_folds + 1, *[1] * (values.dim() - 1))
    every[chunk.cell_owner, chunk.cell_fold] = values[:cells]
    return every


def reach_of(levels: Sequence[Level]) -> Reach:
    """Of the rows that entities would have with any cluster in each level."""
    means = [level.rows.mean(dim=0) for level in levels]
    centred = [level.rows - mean for level, mean in zip(levels, means)]
    spread = torch.stack([rows.T @ rows / len(rows) for rows in centred]).sum(dim=0)
    return Reach(torch.stack(means).sum(dim=0), spread)
