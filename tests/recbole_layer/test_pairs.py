"""Structure that lives in pairs of users and items, and implicit feedback."""

import logging
import sys

import pytest
import torch
import yaml
from pairs_data import write_pairs

from recbole_cel.clustering.joint import PairSplitter
from recbole_cel.config import Config, properties_folder
from recbole_cel.experiments.pairs import plant_groups, plant_parity, plant_ratings, plant_three_fields
from recbole_cel.quick_start import run_recbole_cel


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    return tmp_path / "data"


def run(model, name, options):
    return run_recbole_cel(model, name, config_dict=options)


SLOW_MODELS = [pytest.param(model, marks=pytest.mark.slow) for model in ("xDeepFM", "AutoInt", "NFM", "DCNV2")]


@pytest.mark.parametrize("model", ["FM", "DeepFM", *SLOW_MODELS])
def test_groups_without_main_effects(folder, model):
    """Labels are 1 with probability .88 or .12, so that no model has an AUC above .88."""
    options = write_pairs(folder, "groups", plant_groups(300, 200, 12_000, 4, generator(), odds=2.0))
    found = run(f"{model}_CEL", "groups", {**options, "epochs": 8})
    assert found["test_result"]["auc"] > 0.83


def test_three_fields_of_which_two_interact(folder):
    pairs = plant_three_fields((30, 300, 200), 12_000, generator())
    options = write_pairs(folder, "three", pairs)
    options.update(cel_fields=["context", "user_id", "item_id"], epochs=8)
    assert run("FM_CEL", "three", options)["test_result"]["auc"] > 0.74  # of .8


@pytest.mark.slow
def test_strong_main_effects_beside(folder):
    pairs = plant_groups(300, 200, 12_000, 4, generator(), odds=2.0, main_effects=1.0)
    options = write_pairs(folder, "both", pairs)
    auc = {
        model: run(model, "both", {**options, "epochs": 12})["test_result"]["auc"] for model in ("FM_CEL", "LR")
    }
    assert auc["FM_CEL"] > auc["LR"] + 0.1


@pytest.mark.parametrize("model", ["FM_CEL", pytest.param("DeepFM_CEL", marks=pytest.mark.slow)])
def test_parity(folder, model):
    """Labels that a model can separate: its outputs saturate, and its losses lose their curvature."""
    options = write_pairs(folder, "parity", plant_parity(22, 18, 331, generator()))
    options.update(epochs=100, stopping_step=100, train_batch_size=32)
    assert run(model, "parity", options)["test_result"]["auc"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["MF", "NMF"])
def test_ratings_without_main_effects(folder, model):
    """Ratings are 4 or 2, plus noise of variance 1; biases alone have an error of about 2."""
    pairs = plant_ratings(300, 200, 12_000, 4, generator())
    options = write_pairs(folder, "ratings", pairs, "rating")
    found = run(f"{model}_CEL", "ratings", {**options, "epochs": 15})
    assert found["test_result"]["mse"] < 1.8


def test_the_papers_plain_policy(folder):
    options = write_pairs(folder, "groups", plant_groups(300, 200, 12_000, 4, generator(), odds=2.0))
    options.update(cel_folds=1, cel_levels=1, cel_max_clusters=8, epochs=8, cel_split_gain=0.0)
    assert run("FM_CEL", "groups", options)["test_result"]["auc"] > 0.83


def test_ids_that_all_share_a_row_are_pointed_out(folder, caplog):
    options = write_pairs(folder, "random", plant_groups(60, 40, 1500, 4, generator(), odds=0.0))
    logging.getLogger().setLevel(logging.INFO)
    run("FM_CEL", "random", {**options, "epochs": 3, "state": "INFO"})
    notes = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any(note.startswith("user_id: all 61 ids share one row") for note in notes)
    assert caplog.text.count("item_id: all 41 ids share one row") == 2  # in the table, and as a warning


def test_growth_that_found_nothing_is_tried_again(folder, caplog):
    options = write_pairs(folder, "random", plant_groups(60, 40, 1500, 4, generator(), odds=0.0))
    logging.getLogger().setLevel(logging.INFO)
    run("FM_CEL", "random", {**options, "epochs": 10, "stopping_step": 10, "state": "INFO"})
    steps = [
        int(record.message.split("at step ")[1].split(":")[0])
        for record in caplog.records
        if "joint split at step" in record.message
    ]
    # A batch of 512 makes three steps an epoch; after the first step, attempts come after 2, 4, 6 and 9 epochs.
    assert steps[:1] == [1] and len(steps) >= 3
    assert all(later > 1.2 * earlier for earlier, later in zip(steps[1:], steps[2:]))


def test_a_run_stopped_in_a_joint_split_goes_on_as_if_it_had_not(folder, tmp_path, monkeypatch):
    options = write_pairs(folder, "random", plant_groups(60, 40, 1500, 4, generator(), odds=0.6))
    options.update(epochs=8, stopping_step=8)
    expected = run("FM_CEL", "random", {**options, "checkpoint_dir": str(tmp_path / "whole")})
    split, calls = PairSplitter.split_all, []

    def stop(self, advance):
        calls.append(self._seed)  # that of the run and the number of steps
        if len(calls) == 2:
            raise KeyboardInterrupt
        return split(self, advance)

    monkeypatch.setattr(PairSplitter, "split_all", stop)
    options["checkpoint_dir"] = str(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        run("FM_CEL", "random", options)
    (last,) = (tmp_path / "stopped").glob("*-last.pth")
    assert run("FM_CEL", "random", {**options, "cel_resume": str(last)}) == expected
    assert len(calls) >= 3 and calls[2] == calls[1]


SAMPLING = [
    {"distribution": "uniform", "sample_num": 2},
    {"distribution": "popularity", "sample_num": 1, "alpha": 0.5},
    {"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 2},
]


@pytest.mark.parametrize(
    ("sampling", "mode"),
    [
        (SAMPLING[0], "full"),
        pytest.param(SAMPLING[1], "pop20", marks=pytest.mark.slow),
        pytest.param(SAMPLING[2], "uni20", marks=pytest.mark.slow),
    ],
)
def test_implicit_feedback_with_drawn_negatives(folder, sampling, mode):
    """Users like the items of their group; with the negatives that RecBole draws, items are ranked by it."""
    pairs = plant_groups(200, 120, 12_000, 4, generator(), odds=3.0)
    liked = pairs.targets > 0
    pairs = pairs._replace(ids=tuple(ids[liked] for ids in pairs.ids), targets=pairs.targets[liked])
    options = write_pairs(folder, "liked", pairs)
    options.update(
        load_col={"inter": ["user_id", "item_id"]},
        train_neg_sample_args=sampling,
        eval_args={"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": mode},
        metrics=["NDCG", "Recall"],
        topk=[10],
        valid_metric="NDCG@10",
        epochs=6,
    )
    found = {
        model: run_recbole_cel(model, "liked", config_dict=options)["test_result"]["ndcg@10"]
        for model in ("FM_CEL", "LR")
    }
    assert found["FM_CEL"] > 1.2 * found["LR"]


def test_drawn_negatives_have_defaults_of_their_own(folder):
    drawn = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    labelled = Config("FM_CEL", "ml-100k", config_dict={}, command_line=False)
    implicit = Config("FM_CEL", "ml-100k", config_dict=drawn, command_line=False)
    asked = Config("FM_CEL", "ml-100k", config_dict={**drawn, "cel_levels": 3}, command_line=False)
    read = yaml.safe_load((properties_folder() / "cel" / "implicit.yaml").read_text())
    assert {key: implicit[key] for key in read} == read
    assert all(labelled[key] != value for key, value in read.items())
    assert (asked["cel_levels"], asked["cel_folds"]) == (3, read["cel_folds"])
    assert Config("FM", "ml-100k", config_dict=drawn, command_line=False)["cel_levels"] is None
    ratings = {"threshold": None}
    assert Config("MF_CEL", "ml-100k", config_dict=ratings, command_line=False)["cel_levels"] == 8
