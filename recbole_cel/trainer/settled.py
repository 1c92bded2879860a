"""Tables that reach their budget only while training: epochs before that cannot be the best."""

from __future__ import annotations

from typing import Any

from ..strategies import TrainingHook
from .divergence import CheckedTrainer


class SettledTrainer(CheckedTrainer):
    """Takes an epoch for the best only if the strategy says that the tables are settled.

    Attributes:
        strategy_hook: what the strategy does after each step, if anything.
        was_settled: whether the tables were settled at the last validation.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.strategy_hook: TrainingHook | None = None
        self.was_settled = True

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        if not self.was_settled:
            # What was best until now is no model within its budget.
            self.best_valid_score = -float("inf") if self.valid_metric_bigger else float("inf")
            self.cur_step = 0
        self.was_settled = self.strategy_hook is None or self.strategy_hook.settled
        return super()._valid_epoch(*args, **kwargs)
