"""Whole runs whose reassignments use what training told: fewer passes, and the same run after a resume."""

import copy
import pickle

import pytest
import torch

from recbole_cel.clustering.cross_fitted import policy
from recbole_cel.config import properties_folder
from recbole_cel.evidence.probe import probe_everything
from recbole_cel.inputs import prepare
from recbole_cel.quick_start import run_recbole_cel
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.trainer import Trainer

SPARSE = {
    "cel_levels": 3,
    "cel_folds": 2,
    "cel_max_clusters": 12,
    "cel_split_interval": 0.5,
    "cel_split_gain": 1.0,
    "cel_reassign_interval": 1.0,
    "cel_reassign_slowdown": 1.0,
    "epochs": 8,
    "stopping_step": 99,
}


@pytest.fixture
def passes(monkeypatch):
    """Interactions of each pass through the model that a choice of clusters has made."""
    found = []
    monkeypatch.setattr(policy, "probe_everything", lambda *args: found.append(args[2]) or probe_everything(*args))
    return found


def run(model, options, **changes):
    return run_recbole_cel(model, "tiny", config_dict={**options, **SPARSE, **changes})


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("FM_CEL", {}),
        ("DeepFM_CEL", {}),
        # Growth has passes, so it has to come to an end.
        ("LR_CEL", {"cel_max_clusters": 8, "cel_levels": 2, "cel_split_gain": 0.0}),
        ("MF_CEL", {"task": "rating", "threshold": None, "metrics": ["RMSE"], "valid_metric": "RMSE"}),
    ],
)
@pytest.mark.quick(2)
def test_reassignments_after_an_epoch_need_no_pass(model, changes, options, passes):
    run(model, options, cel_evidence="passes", **changes)
    all_of_them = len(passes)
    passes.clear()
    run(model, options, **changes)
    assert len(passes) <= all_of_them - 3


@pytest.mark.parametrize("model", ["FM_CEL", "DeepFM_CEL"])
def test_with_the_properties_for_large_data_growth_needs_no_pass(model, options, passes):
    files = [str(properties_folder() / "cel" / "large.yaml")]
    options |= {key: value for key, value in SPARSE.items() if key != "cel_split_interval"}
    run_recbole_cel(model, "tiny", files, options)
    assert not passes
    run_recbole_cel(model, "tiny", files, {**options, "cel_evidence": "passes"})
    assert len(passes) >= 4


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("FM_CEL", {"cel_levels": 1}),
        ("FM_CEL", {"cel_gradient_averaging": True}),
        ("NFM_CEL", {}),
        (
            "FM_CEL",
            {
                "threshold": None,
                "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
                "eval_args": {"mode": "full"},
                "metrics": ["NDCG"],
                "valid_metric": "NDCG@10",
            },
        ),
    ],
    ids=["one level", "averaged gradients", "batches are normalised", "negatives are drawn"],
)
@pytest.mark.quick(2)
def test_passes_are_made_where_steps_cannot_tell(model, changes, options, passes):
    run(model, options, **changes)
    with_steps = list(passes)
    passes.clear()
    run(model, options, cel_evidence="passes", **changes)
    assert passes == with_steps != []


def test_passes_are_made_where_batches_do_not_say_what_they_hold(options, passes, monkeypatch):
    monkeypatch.setattr(prepare, "with_fast_rows", lambda *loaders: None)
    run("FM_CEL", options)
    with_steps = len(passes)
    passes.clear()
    run("FM_CEL", options, cel_evidence="passes")
    assert len(passes) == with_steps


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_watched_model_do_not_hold_the_data(copied, options, monkeypatch):
    trained = []
    fit = Trainer.fit
    monkeypatch.setattr(
        Trainer,
        "fit",
        lambda trainer, *args, **named: trained.append(trainer.model) or fit(trainer, *args, **named),
    )
    run("FM_CEL", options, epochs=1)
    (model,) = trained
    assert model.watched is not None
    other = copied(model)
    assert other.watched is None and model.watched is not None
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("model", "interval"), [("DeepFM_CEL", 1.0), ("FM_CEL", 0.5)])
@pytest.mark.quick(1)
def test_a_resumed_run_is_bit_equal(model, interval, options, tmp_path):
    grown = {"cel_split_interval": interval}
    whole = run(model, options, checkpoint_dir="whole", **grown)
    run(model, options, checkpoint_dir="parts", epochs=5, **grown)
    last = next((tmp_path / "parts").glob("*-last.pth"))
    assert run(model, options, checkpoint_dir="parts", cel_resume=str(last), **grown) == whole
    one, other = checkpoints.read(next((tmp_path / "whole").glob("*-last.pth"))), checkpoints.read(last)
    for part in ("state_dict", "optimizer", "strategy", "random", "shuffle", "train_loss"):
        assert checkpoints.digest(one[part]) == checkpoints.digest(other[part]), part
