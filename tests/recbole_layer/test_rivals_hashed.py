"""Rivals that hash or factorise train in models of either kind, and resume."""

import logging
import math
from pathlib import Path

import pytest
import torch

from recbole_cel.config import Config
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.strategies import get_strategy

# Those that differ most from a hashed table come first.
NAMES = [
    *("unified", "dhe", "int8", "memcom", "tensor_train", "quotient_remainder", "low_dimension"),
    *("binary_code_hash", "compositional", "double_hash", "robe"),
]


def with_budget(options, name, **changes):
    budget = "3x serving" if name == "int8" else "2x"
    kept = {key: value for key, value in options.items() if key != "cel_max_clusters"}
    return {**kept, "epochs": 1, "embedding_budget": budget, **changes}


@pytest.mark.quick(3)
@pytest.mark.parametrize(("base", "name"), [(base, name) for base in ("FM", "NMF") for name in NAMES])
def test_they_train(base, name, options, caplog):
    options = with_budget(options, name, state="INFO")
    if base == "NMF":
        del options["threshold"]
    logging.getLogger().setLevel(logging.INFO)
    result = run_recbole_cel(f"{base}_{get_strategy(name).suffix}", "tiny", config_dict=options)
    assert math.isfinite(result["test_result"]["auc" if base == "FM" else "rmse"])
    # Full tables of 61 and 41 ids.
    serving = next(line for line in caplog.text.splitlines() if line.startswith("all ")).split()[2:4]
    full = (61 + 41) * (11 if base == "FM" else 64) * 4
    assert float(serving[0]) * {"B": 1, "kB": 1000}[serving[1]] <= full / (3 if name == "int8" else 2) * 1.05


def test_a_saved_configuration_with_a_budget_is_read(options):
    """It has the defaults of all options, those of CEL's own sizes included."""
    options = with_budget(options, "robe")
    config = Config("FM_Robe", "tiny", config_dict=options, command_line=False)
    saved = {key: config[key] for key in ("embedding_budget", "cel_max_clusters", "cel_compression_ratio")}
    assert saved == {"embedding_budget": "2x", "cel_max_clusters": "auto", "cel_compression_ratio": None}
    assert Config("FM_Robe", "tiny", config_dict={**options, **saved}, command_line=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unified", "dhe", "int8"])
def test_they_are_resumed_bit_for_bit(name, options, tmp_path):
    def run(folder, **changes):
        merged = with_budget(options, name, epochs=2, checkpoint_dir=str(folder))
        run_recbole_cel(f"FM_{get_strategy(name).suffix}", "tiny", config_dict={**merged, **changes})
        (last,) = Path(folder).glob("*-last.pth")
        return last, load_data_and_model(str(last))[1].state_dict()

    _, whole = run(tmp_path / "whole")
    half, _ = run(tmp_path / "half", epochs=1)
    _, resumed = run(tmp_path / "half", cel_resume=str(half))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
