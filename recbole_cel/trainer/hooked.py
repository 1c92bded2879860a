"""What embedding strategies do while a model is trained, and which of its epochs can be the best."""

from __future__ import annotations

from typing import Any

from ..strategies import TrainingHook
from .divergence import CheckedTrainer


class HookedTrainer(CheckedTrainer):
    """Has strategies do what is due after each step.

    An epoch is taken for the best only if the strategies say that the tables are settled: before that, they may be
    larger than their budget.

    Attributes:
        strategy_hook: what the strategies do after each step, if anything.
        was_settled: whether the tables were settled at the last validation.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.strategy_hook: TrainingHook | None = None
        self.was_settled = True
        self._steps = 0

    def count_step(self) -> None:
        """Have the strategies do what is due after a step."""
        self._steps += 1
        if self.strategy_hook is not None:
            self.strategy_hook.step()

    def _train_epoch(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        self._steps = 0
        losses = super()._train_epoch(train_data, *args, **kwargs)
        # A gradient scaler leaves out steps whose gradients are too large for half precision.
        while self.strategy_hook is not None and self._steps < len(train_data):
            self.count_step()
        return losses

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        if not self.was_settled:
            # What was best until now is no model within its budget.
            self.best_valid_score = -float("inf") if self.valid_metric_bigger else float("inf")
            self.cur_step = 0
        self.was_settled = self.strategy_hook is None or self.strategy_hook.settled
        return super()._valid_epoch(*args, **kwargs)
