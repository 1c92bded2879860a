"""Rivals that need the data, or act while training, train by their names, and resume bit for bit."""

from pathlib import Path

import pytest
import recbole.trainer.trainer
import torch

from recbole_cel.options import SettingError
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.strategies import strategies

# Those that act while training, then those that look at the data once.
ACTING = ["cce", "pruning", "cafe", "product_quantisation", "jnkm", "etree"]
RIVALS = [*ACTING, "frequency_hash", "graph_hash", "prehash", "hashgnn"]
# So that all happens within an epoch and a half of six steps each.
SOONER = {
    "cce_interval": 0.5,
    "cafe_interval": 0.5,
    "pruning_epochs": 1.5,
    "pruning_times": 3,
    "product_quantisation_start": 0.5,
    "jnkm_interval": 0.5,
    "etree_interval": 0.5,
}


def run(name, options, folder, model="FM", **changes):
    suffix = strategies()[name].suffix
    sooner = {key: value for key, value in SOONER.items() if key.startswith(name)}
    merged = {**options, "embedding_budget": "3x", "checkpoint_dir": str(folder), **sooner, **changes}
    del merged["cel_max_clusters"]
    result = run_recbole_cel(f"{model}_{suffix}", "tiny", config_dict=merged)
    return result, next(iter(Path(folder).glob("*-last.pth")), None)


@pytest.mark.parametrize("name", RIVALS)
def test_all_train_for_an_epoch(options, tmp_path, name, caplog):
    result, _ = run(name, options, tmp_path, epochs=1, cel_checkpoint_interval=0)
    assert 0 < result["test_result"]["auc"] < 1
    assert ("before the tables were within embedding_budget" in caplog.text) == (name == "pruning")


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", RIVALS)
def test_resumed_bit_for_bit(options, tmp_path, name):
    def state(file):
        return load_data_and_model(str(file))[1].state_dict()

    # Stopped amidst the schedule of those that act.
    _, whole = run(name, options, tmp_path / "whole", epochs=3)
    _, half = run(name, options, tmp_path / "half", epochs=1)
    _, resumed = run(name, options, tmp_path / "half", epochs=3, cel_resume=str(half))
    whole, resumed = state(whole), state(resumed)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_what_was_best_before_tables_were_settled_is_not_best_after_a_resume(options, tmp_path):
    """Tables were full at the last validation, and are small when the run is stopped, before the next one."""
    later = {"eval_step": 4, "pruning_epochs": 6.0}
    whole, _ = run("pruning", options, tmp_path / "whole", epochs=8, **later)
    _, half = run("pruning", options, tmp_path / "half", epochs=7, **later)
    resumed, _ = run("pruning", options, tmp_path / "half", epochs=8, cel_resume=str(half), **later)
    assert resumed == whole
    (best,) = (file for file in (tmp_path / "half").glob("*.pth") if not file.stem.endswith("-last"))
    for strategy in load_data_and_model(str(best))[1].embedding_strategies.values():
        assert int(strategy.num_kept) == strategy.size * strategy.budget.width


class HalfPrecisionScaler:
    """As PyTorch's, where the first gradients of each epoch do not fit."""

    def __init__(self, **options):
        self.steps = 0

    def scale(self, loss):
        return loss

    def step(self, optimiser):
        self.steps += 1
        if self.steps > 2:
            optimiser.step()

    def update(self):
        pass


@pytest.mark.parametrize("name", ["cce", "pruning"])
def test_steps_that_a_scaler_leaves_out_are_counted(name, options, tmp_path, monkeypatch):
    _, all_made = run(name, options, tmp_path / "all", epochs=2)
    monkeypatch.setattr(recbole.trainer.trainer.amp, "GradScaler", HalfPrecisionScaler)
    _, some_left_out = run(name, options, tmp_path / "some", epochs=2)
    one, other = map(checkpoints.read, (all_made, some_left_out))
    assert one["strategy"] == other["strategy"] and one["optimizer"] != other["optimizer"]


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["pruning", "product_quantisation", "jnkm"])
def test_the_best_model_is_within_its_budget(options, tmp_path, name):
    """An epoch with full tables is not the best, however good it was."""
    later = {"pruning_epochs": 2.0, "product_quantisation_start": 2.0, "jnkm_interval": 2.0}
    later = {key: value for key, value in later.items() if key.startswith(name)}
    run(name, options, tmp_path, epochs=3, **later)
    (best,) = (file for file in tmp_path.glob("*.pth") if not file.stem.endswith("-last"))
    model = load_data_and_model(str(best))[1].eval()
    for strategy in model.embedding_strategies.values():
        if name == "pruning":
            assert int(strategy.num_kept) == strategy.size * strategy.budget.width
        else:
            for table in strategy.tables:
                part = table(None)[:, :2] if name == "product_quantisation" else table(None)
                assert len(part.detach().unique(dim=0)) <= strategy.size


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", RIVALS)
def test_non_negative_models_stay_so(options, tmp_path, name):
    options.pop("threshold")
    run(name, options, tmp_path, "NMF", epochs=2, task="rating", learning_rate=0.02)
    model = load_data_and_model(str(next(tmp_path.glob("*-last.pth"))))[1].eval()
    assert all((table(None) >= 0).all() for one in model.embedding_strategies.values() for table in one.tables)


def test_training_bytes_that_cannot_be_kept_are_one_line(options, tmp_path):
    with pytest.raises(SettingError, match="embedding_budget leaves .* bytes in training to field user_id"):
        run("jnkm", options, tmp_path, embedding_budget="2x training")
