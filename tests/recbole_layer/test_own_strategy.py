"""A strategy in a file outside the package: registered, trained, resumed and reported by its name alone."""

import importlib
import logging
import sys
from pathlib import Path

import pytest
import torch

from recbole_cel.options import SettingError
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.strategies import registry, strategies

FILE = """
from dataclasses import dataclass

import torch
from torch import nn

from recbole_cel.options import check_options, is_int, option
from recbole_cel.strategies import EmbeddingStrategy, register_strategy


@dataclass(frozen=True)
class Options:
    stride: int = option(1, "ids that are neighbours", "an integer >= 1", lambda value: is_int(value, 1))

    def __post_init__(self):
        check_options(self)


class Neighbours(nn.Module):
    def __init__(self, num_entities, width, rows, stride, mean, std):
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.stride = num_entities, width, stride
        self.weight = nn.Parameter(torch.empty(rows, width).normal_(mean, std))

    def forward(self, ids):
        ids = torch.arange(self.num_embeddings) if ids is None else ids
        return self.weight[ids // self.stride % len(self.weight)]


@register_strategy
class NeighboursStrategy(EmbeddingStrategy):
    name, suffix, prefix, Options = "neighbours", "Neighbours", "neighbours_", Options

    def _make_table(self, width, std, mean):
        return Neighbours(self.num_entities, width, self.size, self.options.stride, mean, std)
"""


@pytest.fixture(autouse=True)
def neighbours(tmp_path, monkeypatch):
    assert len(FILE.strip().splitlines()) <= 40
    (tmp_path / "neighbours_strategy.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("neighbours_strategy")
    yield module
    registry._REGISTERED.pop("neighbours")
    sys.modules.pop("neighbours_strategy")


@pytest.mark.parametrize("model", ["FM", "DeepFM"])
def test_it_trains_within_a_budget_in_bytes(options, model, caplog):
    options.update(embedding_strategy="neighbours", embedding_budget="1 kB", neighbours_stride=2, state="INFO")
    del options["cel_max_clusters"]
    logging.getLogger().setLevel(logging.INFO)
    result = run_recbole_cel(model, "tiny", config_dict={**options, "epochs": 2})
    assert 0 < result["test_result"]["auc"] < 1
    assert f"{model}_Neighbours on tiny" in caplog.text
    line = next(line for line in caplog.text.splitlines() if line.startswith("all "))
    serving, unit = line.split()[2:4]
    assert unit == "B" and 900 < int(serving) <= 1000


def test_its_options_are_its_own(options):
    options["embedding_strategy"] = "neighbours"
    with pytest.raises(SettingError, match=r"neighbours_strid is not an .* did you mean neighbours_stride\?"):
        run_recbole_cel("FM", "tiny", config_dict={**options, "neighbours_strid": 3})
    with pytest.raises(SettingError, match="neighbours_stride must be an integer >= 1, got 0"):
        run_recbole_cel("FM", "tiny", config_dict={**options, "neighbours_stride": 0})
    with pytest.raises(SettingError, match="embedding_budget and cel_max_clusters exclude each other"):
        run_recbole_cel("FM", "tiny", config_dict={**options, "embedding_budget": "9 rows", "cel_max_clusters": 9})


def test_the_options_of_another_strategy_are_pointed_out(options, caplog):
    run_recbole_cel("FM_CEL", "tiny", config_dict={**options, "neighbours_stride": 3, "epochs": 1})
    assert "neighbours_stride: no effect on FM_CEL" in caplog.text


def test_it_is_saved_loaded_and_resumed_bit_for_bit(options, tmp_path):
    def run(folder, **changes):
        merged = {**options, "epochs": 4, "neighbours_stride": 2, "checkpoint_dir": str(folder), **changes}
        run_recbole_cel("FM_Neighbours", "tiny", config_dict=merged)
        (last,) = Path(folder).glob("*-last.pth")
        return last, load_data_and_model(str(last))[1].state_dict()

    _, whole = run(tmp_path / "whole")
    half, _ = run(tmp_path / "half", epochs=2)
    _, resumed = run(tmp_path / "half", cel_resume=str(half))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_it_is_one_of_the_strategies(neighbours):
    assert strategies()["neighbours"] is neighbours.NeighboursStrategy
