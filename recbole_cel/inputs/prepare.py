"""From a configuration to the data that a model is trained, chosen and tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from typing import Any

from recbole.data import create_dataset, data_preparation
from recbole.utils import ModelType

from ..options import SettingError
from .atomic_files import check_atomic_files
from .fast_rows import with_fast_rows
from .fetch import fetch
from .labels import check_parts

Make = Callable[[Any], Any]


def prepare_data(
    config: Any,
    read: Callable[[Make], Any] | None = None,
    split: Callable[[Any], None] | None = None,
    *,
    fetched: bool = True,
) -> tuple[Any, Any, Any, Any]:
    """Fetch the data set if need be, check it, let RecBole read and split it, and check the parts.

    Args:
        config: RecBole's configuration.
        read: gives the data set, from a file or from RecBole's function that it is called with.
        split: called with the data set before it is split.
        fetched: whether a data set that RecBole knows is fetched if it is not there.

    Returns:
        The data set, and the data loaders of training, validation and test.

    Raises:
        SettingError: at whatever in the data no model could be trained on, with the place and what would be right.
    """
    fetch(config, fetched)
    given = check_atomic_files(config)
    with _as_one_line(config):
        data = create_dataset(config) if read is None else read(create_dataset)
    # The first interaction of a user is no row of a sequential model.
    counted = config["MODEL_TYPE"] != ModelType.SEQUENTIAL
    if counted and data.inter_num < given:
        getLogger().warning(
            f"{given - data.inter_num} of {given} interactions are left out: by filters, or because .user or "
            ".item lacks their user or item"
        )
    getLogger().info(data)
    with _as_one_line(config):
        if split is not None:
            split(data)
        train, valid, test = data_preparation(config, data)
    check_parts(config, train._dataset, valid._dataset, test._dataset)
    with_fast_rows(train, valid, test)
    return data, train, valid, test


@contextmanager
def _as_one_line(config: Any) -> Iterator[None]:
    """What RecBole says of data and options that it cannot prepare; the cause stays attached."""
    try:
        yield
    except SettingError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "feat is empty" in reason:
            raise SettingError(
                "dataset",
                f"{config['dataset']} has no rows left when it is filtered by val_interval, "
                "user_inter_num_interval and item_inter_num_interval, and by the users and items that "
                ".user and .item have",
            ) from error
        what = f"{type(error).__name__} " if isinstance(error, (LookupError, AttributeError)) else ""
        raise SettingError(
            "dataset", f"{config['dataset']} cannot be prepared as configured: {what}{reason}"
        ) from error
