"""Batches are RecBole's own, whatever kind of loader they come from, and faster to make."""

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_cel.config import Config
from recbole_cel.inputs.fast_rows import FastRows, with_fast_rows

DRAWN = {"distribution": "uniform", "sample_num": 2, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
FULL = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "full"}
LABELED = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None, "mode": "labeled"}
POSITIVE = {"threshold": None, "metrics": ["NDCG"], "valid_metric": "NDCG@10"}
KINDS = {
    "labeled": {"eval_args": LABELED, "train_neg_sample_args": None},
    "uniform": {"eval_args": FULL, "train_neg_sample_args": DRAWN, **POSITIVE},
    "popularity": {
        "eval_args": {**FULL, "mode": "uni100"},
        "train_neg_sample_args": {**DRAWN, "distribution": "popularity"},
        **POSITIVE,
    },
}


def batches(options, fast):
    """Those of two epochs, of training, validation and test."""
    config = Config("FM_CEL", "tiny", config_dict=options, command_line=False)
    init_seed(config["seed"], True)
    found = data_preparation(config, create_dataset(config))
    if fast:
        with_fast_rows(*found)
        assert all(isinstance(loader._dataset.inter_feat, FastRows) for loader in found)
    init_seed(config["seed"], True)
    return [batch for loader in found for _ in range(2) for batch in loader]


def columns(batch):
    parts = batch if isinstance(batch, (tuple, list)) else [batch]
    for part in parts:
        yield from sorted(part.interaction.items()) if isinstance(part, Interaction) else [("", part)]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_the_same(kind, options):
    plain, fast = (batches({**options, **KINDS[kind]}, fast) for fast in (False, True))
    assert len(plain) > 6
    for one, other in zip(plain, fast, strict=True):
        for (name, ours), (same_name, same) in zip(columns(one), columns(other), strict=True):
            assert name == same_name and np.array_equal(ours, same)


@pytest.mark.parametrize(
    "index",
    [
        torch.tensor([3, 0, 3, -1]),
        np.array([3, 0, 3, -1]),
        [3, 0, 3, -1],
        torch.tensor([], dtype=torch.int64),
        torch.arange(5) > 2,
        np.arange(5) > 2,
        np.array([1, 2], dtype=np.int32),
        slice(1, 4),
        slice(None, None, 2),
        2,
        "one",
    ],
    ids=str,
)
def test_every_index_gives_the_rows_that_it_gave(index):
    kept = {"one": torch.arange(5), "many": torch.arange(15.0).view(5, 3)}
    wanted, found = Interaction(kept)[index], FastRows(kept)[index]
    if isinstance(index, str):
        assert found is wanted
        return
    assert type(found) is Interaction and found.length == wanted.length
    assert all(torch.equal(found[name], wanted[name]) for name in kept)


def test_rows_beyond_the_last_are_an_error():
    with pytest.raises(IndexError):
        FastRows({"one": torch.arange(5)})[torch.tensor([5])]
