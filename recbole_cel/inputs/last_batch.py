"""Batch normalisation needs two rows at least: a last training batch of one row joins the batch before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from ..options import SettingError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class JoinedBatches(BatchSampler):
    """Batches as :class:`BatchSampler` makes them, of which none has one row unless all have."""

    def __iter__(self) -> Iterator[list[int]]:
        """Positions of the rows of each batch."""
        before: list[int] | None = None
        for batch in super().__iter__():
            if before is not None and len(batch) == 1:
                batch = before + batch
            elif before is not None:
                yield before
            before = batch
        if before is not None:
            yield before

    def __len__(self) -> int:
        """The number of batches."""
        rows = len(self.sampler)  # type: ignore[arg-type]  # ours have a length
        return max(1, super().__len__() - (rows % self.batch_size == 1)) if rows else 0


class _JoiningLoader(DataLoader[Any]):
    """PyTorch's loader where RecBole's loaders create theirs, but with :class:`JoinedBatches`."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool,
        sampler: None,
        generator: torch.Generator,
        **options: Any,
    ) -> None:
        rows = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        batches = JoinedBatches(rows, batch_size, drop_last=False)
        super().__init__(dataset, batch_sampler=batches, generator=generator, **options)


class JoiningTrainDataLoader(TrainDataLoader, _JoiningLoader):
    """RecBole's training loader, whose last batch has more than one row; else the same rows in the same order."""


def without_single_rows(config: Any, model: nn.Module, train_data: Any) -> Any:
    """The training loader for ``model``: ``train_data`` itself, unless its last batch would stop the training.

    Raises:
        SettingError: if batches of one row cannot be avoided.
    """
    normalises = any(isinstance(module, BATCH_NORMS) for module in model.modules())
    # Drawn negatives make several rows of one.
    if not normalises or type(train_data) is not TrainDataLoader or train_data.times > 1:
        return train_data
    rows, step = train_data.sample_size, train_data.step
    if step == 1:
        raise SettingError("train_batch_size", f"must be 2 at least: {config['model']} normalises each batch")
    if rows == 1:
        raise SettingError("dataset", f"leaves one row for training; {config['model']} needs two in every batch")
    if rows % step != 1:
        return train_data
    make: Any = JoiningTrainDataLoader  # RecBole has no types, so PyTorch's would be seen in its place.
    return make(config, train_data._dataset, train_data._sampler, shuffle=train_data.shuffle)
