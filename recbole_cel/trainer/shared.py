"""Training and predictions that several processes share (see ``processes``)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..inputs.fast_rows import NUMBER
from ..inputs.last_batch import BATCH_NORMS
from ..options import SettingError
from ..processes import Group, current
from .divergence import DivergenceError
from .hooked import HookedTrainer

# The number of an interaction that stands in where a process has none.
NOBODY = -1


class SharedTrainer(HookedTrainer):
    """Every process takes its part of each batch, and the sum of their gradients; the first one writes.

    What is the same in all processes (shuffles, negatives, what clusters are chosen by) is made in all of them.
    Without other processes, nothing is different from RecBole.
    """

    tensorboard: Any

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self._group = current()
        self._part: _Parts | None = None
        self._loss = 0.0
        if self._group is not None and not _shares_batches(model):
            raise SettingError("nproc", f"must be 1: {config['model']} needs whole batches, which processes share")
        if self._group is not None and not self._group.first:
            self.tensorboard.close()
            shutil.rmtree(self.tensorboard.log_dir, ignore_errors=True)
            self.tensorboard = _Silent()

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self._group is None or self._group.first

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super()._build_optimizer(**kwargs)
        if self.device.type == "cpu":
            # The levels of all tables are many small parameters, which cost more to visit than to change; full
            # tables gain, too, and are to be compared under the same optimiser.
            for one in optimizer.param_groups:
                if "fused" in one:
                    one["fused"] = True
        group = current()
        if group is not None:
            parameters = list(chain.from_iterable(one["params"] for one in optimizer.param_groups))

            def add_gradients(*_: Any) -> None:
                group.add_gradients(parameters, self._part.share if self._part is not None else 1 / group.size)

            optimizer.register_step_pre_hook(add_gradients)
        return optimizer

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        group = self._group
        if group is None:
            return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self._part, self._loss = _Parts(train_data, group), 0.0
        super()._train_epoch(self._part, epoch_idx, *args, **kwargs)
        model = self.model
        if not group.agrees(chain(model.parameters(), model.buffers())):
            raise DivergenceError("nproc", f"must be 1: models of processes differ after epoch {epoch_idx}")
        return float(group.add(torch.tensor(self._loss, dtype=torch.float64)))

    def _check_nan(self, loss: Tensor) -> None:
        super()._check_nan(loss)
        if self._part is not None:
            self._loss += float(loss.detach()) * self._part.share

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate; as in RecBole. Every process predicts its part, and has the metrics of all predictions."""
        with _shared_predictions(self.model, self._group):
            return super().evaluate(eval_data, *args, **kwargs)


class _Parts:
    """Batches of which this process takes its part.

    Attributes:
        share: how much of the present batch that is.
    """

    def __init__(self, batches: Any, group: Group) -> None:
        self._batches, self._group, self.share = batches, group, 1.0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            part = self._group.part(len(batch))
            number = part.stop - part.start
            self.share = number / len(batch)
            if number:
                yield batch[part]
            else:
                # Something for the model to compute; it counts nothing.
                nobody = batch[:1]
                if NUMBER in nobody:
                    nobody.interaction[NUMBER] = torch.full_like(nobody[NUMBER], NOBODY)
                yield nobody


def _shares_batches(model: Any) -> bool:
    """Whether parts of a batch do what the whole would do."""
    strategies = getattr(model, "embedding_strategies", {}).values()
    normalises = any(isinstance(module, BATCH_NORMS) for module in model.modules())
    return not normalises and all(strategy.shares_batches for strategy in strategies)


class _Silent:
    """A TensorBoard that is not written."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def add_hparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@contextmanager
def _shared_predictions(model: Any, group: Group | None) -> Iterator[None]:
    """Within the block, ``model.predict`` is shared, and gives what it would give in one process."""
    if group is None:
        yield
        return
    predict = model.predict

    def shared(interaction: Any) -> Tensor:
        number = len(interaction)
        part = group.part(number)
        scores = predict(interaction[part] if part.stop > part.start else interaction[:1])
        return group.joined(scores.view(-1)[: part.stop - part.start], number)

    model.predict = shared
    try:
        yield
    finally:
        del model.predict
