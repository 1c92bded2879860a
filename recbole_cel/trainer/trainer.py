"""RecBole's trainer, with cluster events, safe checkpoints and the final table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from recbole.utils import EvaluatorType, set_color
from torch.utils.hooks import RemovableHandle
from tqdm import tqdm

from .. import __version__
from ..data import TrainingObjective, fingerprint, training_pairs
from ..model import NonNegativeRecommender, StrategyRecommender
from ..processes import told_by_first
from ..runs import checkpoint as checkpoints
from ..runs.activity import ACTIVITY_METRICS, ActivityRow, ScoreCollector, activity_table
from ..runs.checkpoint import CheckpointError
from ..runs.names import unique_file
from ..runs.random_state import random_state, set_random_state
from ..runs.report import final_report
from ..runs.resume import (
    check_config,
    check_dataset,
    load_model_state,
    load_states,
    other_parameters,
    saved_config,
    shufflers,
)
from ..runs.size import FieldSize, field_size
from ..runs.validate import check_parts, check_random, checked_optimiser
from ..settings import CELSettings
from ..strategies import Training, TrainingEvent
from .shared import SharedTrainer

UNSETTLED = "training ended before the tables were within embedding_budget; train for more epochs"


class Trainer(SharedTrainer):
    """Trains any RecBole model that RecBole's own ``Trainer`` trains, clustered or not.

    Besides what RecBole does, it runs the cluster optimisation after optimiser steps, writes checkpoints of
    plain data, can resume from them exactly, and can say how well cold ids are served.
    """

    saved_model_file: str

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        # RecBole's name is that of every run of the model that begins in this second.
        self.saved_model_file = told_by_first(unique_file(self.saved_model_file))
        self.settings = CELSettings.from_config(config.final_config_dict)
        self.collected: dict[str, torch.Tensor] = {}
        self._train_data: Any = None
        self._fingerprint: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None
        self._unlogged: list[TrainingEvent] = []
        self._show_progress = False
        self._write_states = False
        self._valid_result: dict[str, float] | None = None
        self._hooks: list[RemovableHandle] = []
        if config["eval_type"] == EvaluatorType.VALUE:
            self.eval_collector = ScoreCollector(config, [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]])

    @property
    def resume_file(self) -> str:
        """Where the state after the last epoch is kept, beside the best model in ``saved_model_file``."""
        stem, extension = os.path.splitext(self.saved_model_file)
        return f"{stem}-last{extension}"

    def attach(self, train_data: Any, *evaluated: Any) -> None:
        """Take the data, before :meth:`resume_checkpoint` or :meth:`fit` needs them; ``evaluated`` for checks."""
        if self._train_data is train_data:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._train_data = train_data
        self._fingerprint = fingerprint(train_data._dataset, [data._dataset for data in evaluated if data])
        model = self.model
        if isinstance(model, NonNegativeRecommender):
            # Before the clusters change: they shall be chosen by the rows that the model has.
            self._hooks.append(self.optimizer.register_step_post_hook(lambda *_: model.project()))
        if not isinstance(model, StrategyRecommender):
            return
        model.num_examples = max(1, train_data.sample_size * train_data.times)
        strategies = model.embedding_strategies
        changes = next(iter(strategies.values())).while_training(
            strategies,
            Training(
                lambda: TrainingObjective(model, train_data, self.config["LABEL_FIELD"]),
                self.optimizer,
                lambda field: training_pairs(train_data._dataset, field),
                len(train_data),
                self.config["seed"],
                self._on_event,
                self._progress,
            ),
        )
        if changes is not None:
            self.strategy_hook = changes
            self._hooks.append(self.optimizer.register_step_post_hook(lambda *_: self.count_step()))

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train; as in RecBole. Continues where :meth:`resume_checkpoint` left off, if it was called."""
        # Weight decay lets weights that nothing needs shrink until processors handle them in software: epochs took
        # five times as long from the fortieth on.
        torch.set_flush_denormal(True)
        self.attach(train_data, *([valid_data] if valid_data else []))
        self._show_progress = show_progress
        if self._resumed is not None:
            self._continue(self._resumed)
            over = self.cur_step > self.stopping_step or self.start_epoch >= self.epochs
            if over:
                self.logger.info("The resumed run had already finished training.")
                self.eval_collector.data_collect(train_data)
                return self.best_valid_score, self.best_valid_result

        self._write_states = saved and self.settings.checkpoint_interval > 0
        result: tuple[float, dict[str, float] | None] = super().fit(
            train_data, valid_data, verbose, saved, show_progress, callback_fn
        )
        self._write_state()
        if self.strategy_hook is not None and not self.strategy_hook.settled:
            self.logger.warning(f"{self.config['model']}: {UNSETTLED}")
        return result

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Evaluate; as in RecBole, but the model file is read without running code in it."""
        if eval_data and load_best_model:
            # The first process has written it by then.
            told_by_first(None)
            file = model_file or self.saved_model_file
            load_model_state(self.model, self._read(file), file)
            self.logger.info(f"Loading model structure and parameters from {file}")
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        if isinstance(self.eval_collector, ScoreCollector):
            self.collected = self.eval_collector.take()
        return result

    def resume_checkpoint(self, resume_file: str) -> None:
        """Continue from a checkpoint; the next :meth:`fit` gives what an uninterrupted run would have given.

        Raises:
            CheckpointError: if the file is damaged, or of another model, data set or configuration; nothing is
                changed then.
        """
        state = self._read(resume_file)
        check_config(resume_file, state["config"], saved_config(self.config))
        if state["epoch"] >= self.epochs:
            done = state["epoch"] + 1
            raise CheckpointError(
                f"{resume_file}: that run has trained for {done} epochs; epochs is {self.epochs}"
            )
        moments = checked_optimiser(resume_file, self.optimizer, state["optimizer"])
        check_random(resume_file, state["random"], state["shuffle"], len(shufflers(self._train_data)))
        best = Path(resume_file).with_name(state["best_file"])
        # Before the first evaluation there is none yet.
        if state["best_valid_result"] is not None and not best.is_file():
            raise CheckpointError(f"{resume_file}: the best model of that run, {best}, is missing beside it")
        load_states(self.model, self.strategy_hook, state, resume_file)
        self.was_settled = state["was_settled"]
        self.optimizer.load_state_dict(moments)
        self.saved_model_file = str(best)
        self.start_epoch = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state["best_valid_result"]
        self.train_loss_dict = dict(state["train_loss"])
        self._resumed = state
        self.logger.info(f"Checkpoint loaded. Resume training from epoch {self.start_epoch}")

    def activity(self) -> list[ActivityRow]:
        """Metrics of the last evaluation by user and item activity in training."""
        if not self.collected:
            return []
        dataset = self._train_data._dataset
        counts = {
            name: torch.bincount(dataset.inter_feat[name], minlength=dataset.num(name))
            for name in (self.config["USER_ID_FIELD"], self.config["ITEM_ID_FIELD"])
        }
        metrics = ACTIVITY_METRICS[self.config["task"]]
        return activity_table(self.collected, counts, self.settings.activity_edges, metrics)

    def sizes(self) -> list[FieldSize]:
        """Size of the entity fields' tables; empty for models without an embedding strategy."""
        if not isinstance(self.model, StrategyRecommender):
            return []
        return [
            field_size(name, strategy, self.optimizer)
            for name, strategy in self.model.embedding_strategies.items()
        ]

    def report(self, test_result: Mapping[str, float]) -> str:
        """The table at the end of a run."""
        edges = self.settings.activity_edges
        return final_report(self.config["model"], test_result, self.activity(), self.sizes(), edges)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        # The epoch before is over now, with its evaluation and all that follows it.
        if epoch_idx > self.start_epoch and epoch_idx % max(1, self.settings.checkpoint_interval) == 0:
            self._write_state()
        losses = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        # Not logged at once: the line would break the epoch's progress bar.
        for event in self._unlogged:
            self.logger.info(set_color("clusters", "green") + f" {event}")
        self._unlogged.clear()
        return losses

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        score, self._valid_result = super()._valid_epoch(*args, **kwargs)
        return score, self._valid_result

    def _write_state(self) -> None:
        """Write the file to resume from: the state after the last finished epoch."""
        if self.writes and self._write_states and self._epoch >= 0:
            self._save_checkpoint(self._epoch, verbose=False, saved_model_file=self.resume_file)

    def _on_event(self, event: TrainingEvent) -> None:
        self._unlogged.append(event)
        if isinstance(self.model, NonNegativeRecommender):
            self.model.project()
        for name, value in event.scalars().items():
            self.tensorboard.add_scalar(name, value, event.step)

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Callable[[int], object]]:
        # Short events would only flicker.
        with tqdm(
            total=total, desc=what, ncols=100, leave=False, delay=1.0, disable=not self._show_progress
        ) as bar:
            yield bar.update

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if not self.writes:
            return
        file = kwargs.pop("saved_model_file", self.saved_model_file)
        # RecBole saves a new best model before it takes its result over.
        best_result = self._valid_result if file == self.saved_model_file else self.best_valid_result
        state = {
            "version": __version__,
            "model": self.config["model"],
            "dataset": self._fingerprint,
            # Config appends the data set's name.
            "data_path": os.path.dirname(self.config["data_path"]),
            "config": saved_config(self.config),
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": self.best_valid_score,
            "best_valid_result": best_result and dict(best_result),
            "best_file": os.path.basename(self.saved_model_file),
            "was_settled": self.was_settled,
            "train_loss": self.train_loss_dict,
            "state_dict": self.model.state_dict(),
            "other_parameter": other_parameters(self.model),
            "optimizer": self.optimizer.state_dict(),
            "strategy": self.strategy_hook and self.strategy_hook.state_dict(),
            "random": random_state(),
            "shuffle": [generator.get_state() for generator in shufflers(self._train_data)],
        }
        checkpoints.write(file, checkpoints.plain(state))
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {file}")

    def _read(self, file: str) -> dict[str, Any]:
        """Read a checkpoint and check that it is of this model and of these data."""
        state = checkpoints.read(file)
        check_parts(file, state)
        if state["model"] != self.config["model"]:
            raise CheckpointError(f"{file}: it is of model {state['model']}, not of {self.config['model']}")
        if self._fingerprint is not None:
            check_dataset(file, state["dataset"], self._fingerprint)
        return state

    def _continue(self, state: dict[str, Any]) -> None:
        """Set what :meth:`fit` needs besides what :meth:`resume_checkpoint` has set."""
        for generator, shuffle in zip(shufflers(self._train_data), state["shuffle"]):
            generator.set_state(shuffle)
        set_random_state(state["random"])
        self._resumed = None
