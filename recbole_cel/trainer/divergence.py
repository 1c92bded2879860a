"""Training that has diverged ends with one line, not with numbers that mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer as RecBoleTrainer
from torch import Tensor

from ..options import SettingError


class DivergenceError(SettingError):
    """A loss, a weight or a prediction is not finite any more."""


class CheckedTrainer(RecBoleTrainer):
    """Checks losses at every step, weights after every epoch, and predictions.

    Raises:
        DivergenceError: saying what is not finite, where, and what to try; files are left as they are.
    """

    _batch = 0
    _epoch = -1

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        self._epoch, self._batch = epoch_idx, 0
        losses = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        for name, parameter in self.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise self._diverged(f"{name} has numbers that are not finite after epoch {epoch_idx}")
        return losses

    def _check_nan(self, loss: Tensor) -> None:
        self._batch += 1
        if not bool(loss.isfinite()):
            raise self._diverged(
                f"the loss is {float(loss.detach())} in batch {self._batch} of epoch {self._epoch}"
            )

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        return self._checked(super()._full_sort_batch_eval(batched_data))

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        return self._checked(super()._neg_sample_batch_eval(batched_data))

    def _checked(self, found: Any) -> Any:
        # Items that are not to be recommended have minus infinity.
        if bool(torch.isnan(found[1]).any()):
            raise self._diverged(f"predictions are no numbers after epoch {self._epoch}")
        return found

    def _diverged(self, what: str) -> DivergenceError:
        rate, best = float(self.config["learning_rate"]), Path(self.saved_model_file)
        large = "normalize_all=True if features are large"
        if self.config["task"] == "rating":
            large = "smaller numbers if ratings are large"
        kept = f"; the best model before is in {best}" if best.is_file() else ""
        return DivergenceError(
            "learning_rate",
            f"is {rate:g}, and training has diverged: {what}; try {min(rate / 10, 1e-3):g}, or {large}{kept}",
        )
