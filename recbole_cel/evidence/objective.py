"""What the cluster optimisation needs to know of a model and its training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..embedding.folds import cross_fitted, fold_of
from ..embedding.slots import Lookup, watch_lookups

Meet = Callable[[Tensor, Sequence[Lookup], Tensor], None]
"""Takes numbers of a batch's interactions, all lookups, and the outputs that its loss is computed from."""
PointwiseLoss = Callable[[Tensor, Tensor], Tensor]
"""Element-wise loss of ``(outputs, targets)``; the two broadcast against each other."""


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood, in nats, of 0/1 ``targets`` under logits ``outputs``."""
    return torch.addcmul(F.softplus(outputs), outputs, targets, value=-1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared difference of ``outputs`` and ``targets``."""
    return (outputs - targets).square()


class Objective(Protocol):
    """The training loss, interaction by interaction.

    Interactions are numbered ``0 .. n - 1``. One number of output decides the loss of an interaction, and the
    outputs of two interactions do not depend on each other; the model must be in evaluation mode when
    :meth:`outputs` runs, so that neither dropout nor batch statistics break this.
    """

    def entities(self, field: str) -> Tensor:
        """Entity id of ``field`` in every interaction, shape ``(n,)``."""

    def folds(self, num_folds: int) -> Tensor:
        """Fold of every interaction, in ``0 .. num_folds - 1``, shape ``(n,)``; the same whenever it is asked."""

    def outputs(self, interactions: Tensor, fold: int | None = None) -> Tensor:
        """Differentiable model outputs (logits, ratings) of the numbered interactions, shape ``(B,)``.

        With cross-fitting, each interaction looks up what was assigned without its fold, as in training; or all of
        them what was assigned without one ``fold``.
        """

    def targets(self, interactions: Tensor) -> Tensor:
        """What the outputs should be, shape ``(B,)``."""

    def weights(self, interactions: Tensor) -> Tensor:
        """What each numbered interaction counts in the loss, shape ``(B,)``."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Element-wise loss, not weighted; broadcasts."""

    def refresh(self) -> bool:
        """Draw anew what is random in the interactions; returns whether they changed."""

    @property
    def shared(self) -> bool:
        """Whether other processes train the same model with parts of each batch."""

    def add_up(self, values: Tensor) -> Tensor:
        """Add up, in place, what all processes have as ``values``."""

    def watch(self, meet: Meet | None) -> None:
        """Have ``meet`` called in each step of training from now on, or no more.

        It never is where steps cannot say which interactions they are of, or these are others in each epoch.
        """


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block ``module`` is in evaluation mode; after it, each of its modules in that which it was in."""
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # Parents come first, so that a part which is frozen is put back after them.
        for one, training in modes:
            if one.training != training:
                one.train(training)


class ModuleObjective:
    """An :class:`Objective` for a module that is called with one id tensor per field.

    Args:
        module: maps ``len(fields)`` id tensors of shape ``(B,)`` to outputs of shape ``(B,)``.
        fields: the name of each id column.
        columns: the id columns of the training data, each of shape ``(n,)``, on the module's device.
        targets: shape ``(n,)``.
        loss: element-wise loss.
        weights: shape ``(n,)``, what each interaction counts in the loss; by default, one.

    Raises:
        ValueError: if the numbers or lengths of the columns do not match, or the module is of half precision.
    """

    def __init__(
        self,
        module: nn.Module,
        fields: Sequence[str],
        columns: Sequence[Tensor],
        targets: Tensor,
        loss: PointwiseLoss = binary_cross_entropy,
        weights: Tensor | None = None,
    ) -> None:
        # Labels are often whole numbers.
        kind = next((one.dtype for one in module.parameters() if one.is_floating_point()), torch.float32)
        if kind not in (torch.float32, torch.float64):
            raise ValueError(f"the module must be of single or double precision, got {kind}")
        targets = targets.to(kind)
        weights = torch.ones_like(targets) if weights is None else weights.to(kind)
        lengths = {len(column) for column in (*columns, targets, weights)}
        if len(fields) != len(columns) or len(lengths) != 1:
            raise ValueError(
                f"{len(fields)} fields need as many columns, all as long as the targets; got {len(columns)} "
                f"columns, and lengths {sorted(lengths)}"
            )
        self.module = module
        self.columns = dict(zip(fields, columns))
        self._targets = targets
        self._loss = loss
        self._weights = weights
        self._meet: Meet | None = None

    def entities(self, field: str) -> Tensor:
        """Entity id of ``field`` in every interaction, shape ``(n,)``."""
        return self.columns[field]

    def folds(self, num_folds: int) -> Tensor:
        """Fold of every interaction by its ids, shape ``(n,)``."""
        return fold_of(list(self.columns.values()), num_folds)

    def training_outputs(
        self, *ids: Tensor, fold: int | None = None, interactions: Tensor | None = None
    ) -> Tensor:
        """What the module says of a training batch; in a training loop, call this in place of the module.

        With cross-fitting, each interaction looks up what was assigned without its fold, or without the given one.
        If the numbers of the ``interactions`` are given, the step tells what clusters are chosen by.
        """
        watched = self._meet if interactions is not None else None
        with cross_fitted(ids, fold), watch_lookups() if watched else nullcontext() as lookups:
            outputs: Tensor = self.module(*ids)
        if watched and interactions is not None:
            watched(interactions, lookups or (), outputs)
        return outputs

    def outputs(self, interactions: Tensor, fold: int | None = None) -> Tensor:
        """Outputs of the module in evaluation mode, shape ``(B,)``."""
        with evaluating(self.module):
            return self.training_outputs(*(column[interactions] for column in self.columns.values()), fold=fold)

    def targets(self, interactions: Tensor) -> Tensor:
        """Targets of the numbered interactions, shape ``(B,)``."""
        return self._targets[interactions]

    def weights(self, interactions: Tensor) -> Tensor:
        """Weights of the numbered interactions, shape ``(B,)``."""
        return self._weights[interactions]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Element-wise loss."""
        return self._loss(outputs, targets)

    def refresh(self) -> bool:
        """The training data are given; nothing changes."""
        return False

    @property
    def shared(self) -> bool:
        """No; whoever trains a module in several processes says so in a subclass."""
        return False

    def add_up(self, values: Tensor) -> Tensor:
        """Nothing is added."""
        return values

    def watch(self, meet: Meet | None) -> None:
        """Have ``meet`` called in :meth:`training_outputs`, where interactions have their numbers."""
        self._meet = meet


def loss_slope(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """Derivative of each interaction's loss with respect to its output, shape ``(B,)``."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(objective.loss(leaf, targets).sum(), leaf)
    return slope


def loss_curvature(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """Second derivative of each interaction's loss with respect to its output, shape ``(B,)``."""
    return loss_derivatives(objective, outputs, targets)[1]


def loss_derivatives(objective: Objective, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivative of each interaction's loss by its output, each of shape ``(B,)``."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(objective.loss(leaf, targets).sum(), leaf, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), leaf)
    return slope.detach(), curvature
