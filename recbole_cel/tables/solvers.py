"""Baselines of ratings that no gradient trains: biases alone, and a library's matrix factorisation."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.utils import init_seed

from ..config import Config
from ..experiments.baselines import Biases
from ..experiments.ratings import Ratings
from ..strategies.budget import BYTES_PER_NUMBER
from .measure import Measured, Size, prepared

COLUMNS = ("UserId", "ItemId")
STRENGTH = "strength"
RANK = "rank"
DEFAULT_STRENGTH = 10.0
DEFAULT_RANK = 64
Fitted = tuple[list[np.ndarray], int]
"""Predictions for validation and test, and the numbers that the fitted model has."""


def split(options: Mapping[str, Any], dataset: str) -> list[pd.DataFrame]:
    """Training, validation and test interactions, split as for the models."""
    config = Config("MF", dataset, config_dict=dict(options), command_line=False)
    init_seed(config["seed"], config["reproducibility"])
    parts = prepared(config)
    fields = (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], config["RATING_FIELD"])
    names = dict(zip((*COLUMNS, "Rating"), fields))
    return [
        pd.DataFrame({new: part._dataset.inter_feat[old].numpy() for new, old in names.items()}) for part in parts
    ]


def biases(parts: list[pd.DataFrame], strength: float, rank: int) -> Fitted:
    """Mean rating, user and item biases, by alternating regularised least squares."""
    sizes = [1 + max(int(part[name].max()) for part in parts) for name in COLUMNS]
    columns = [[torch.tensor(part[name].to_numpy()) for name in COLUMNS] for part in parts]
    values = torch.tensor(parts[0]["Rating"].to_numpy(), dtype=torch.float32)
    users, items = columns[0]
    fitted = Biases(Ratings(users, items, values, *sizes), strength)
    return [fitted(*ids).numpy() for ids in columns[1:]], 1 + sum(sizes)


def als(parts: list[pd.DataFrame], strength: float, rank: int) -> Fitted:
    """Matrix factorisation with biases of cmfrec, by alternating regularised least squares.

    Raises:
        ModuleNotFoundError: if the library is not installed; that is not kept like a result.
    """
    if importlib.util.find_spec("cmfrec") is None:
        raise ModuleNotFoundError("cmfrec is not installed; python -m pip install 'recbole-cel[benchmark]'")
    from cmfrec import CMF  # type: ignore[import-untyped,unused-ignore]

    model = CMF(k=rank, lambda_=strength, nthreads=torch.get_num_threads(), verbose=False).fit(parts[0])
    predicted = [model.predict(user=part["UserId"], item=part["ItemId"]) for part in parts[1:]]
    return predicted, 1 + sum(parts[0][name].nunique() for name in COLUMNS) * (rank + 1)


SOLVERS: dict[str, Callable[[list[pd.DataFrame], float, int], Fitted]] = {"biases": biases, "als": als}
"""What a row may name in the place of a model."""


def solve(solver: str, parts: list[pd.DataFrame], strength: float, rank: int = DEFAULT_RANK) -> Measured:
    """Fit ``solver`` on ``parts[0]``, and measure it on the others.

    Args:
        solver: one of ``SOLVERS``.
        parts: from :func:`split`.
        strength: of the regularisation.
        rank: of a factorisation.
    """
    start = time.perf_counter()
    predicted, numbers = SOLVERS[solver](parts, strength, rank)
    seconds = time.perf_counter() - start
    valid, test = (_metrics(one, part["Rating"].to_numpy()) for one, part in zip(predicted, parts[1:]))
    size = Size(BYTES_PER_NUMBER * numbers, BYTES_PER_NUMBER * numbers, numbers)
    return Measured(valid, test, {}, [], seconds, 0, size, None)


def _metrics(predicted: np.ndarray, ratings: np.ndarray) -> dict[str, float]:
    errors = np.asarray(predicted, dtype=np.float64) - ratings
    mse = float(np.mean(errors**2))
    return {"rmse": mse**0.5, "mae": float(np.mean(np.abs(errors))), "mse": mse}
