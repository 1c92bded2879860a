import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from recbole_cel import __main__ as command_line
from recbole_cel.quick_start import run_recbole_cel
from recbole_cel.runs.activity import ActivityRow, activity_table, label_metrics, rating_metrics
from recbole_cel.runs.report import byte_text, final_report
from recbole_cel.runs.size import field_size
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import FieldBudget, get_strategy


def test_activity_by_hand():
    counts = torch.tensor([0, 1, 9, 10, 49, 50])
    collected = {
        "user_id": torch.tensor([1, 2, 2, 3, 4, 5, 5]),
        "label": torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]),
        "score": torch.tensor([0.9, 0.2, 0.95, 0.5, 0.5, 0.5, 0.25]),
    }
    cold, medium, warm = activity_table(collected, {"user_id": counts}, (10, 50), label_metrics)
    assert (cold.level, cold.entities, cold.interactions, cold.metrics["AUC"]) == ("cold", 2, 3, 0.5)
    assert (medium.entities, medium.interactions, medium.metrics["AUC"]) == (2, 2, None)
    assert medium.metrics["LogLoss"] == pytest.approx(0.6931, abs=1e-4)
    assert (warm.entities, warm.interactions, warm.metrics["AUC"]) == (1, 2, 0.0)
    assert warm.metrics["LogLoss"] == pytest.approx((0.6931 + 1.3863) / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("labels", "scores", "auc"), [([3.0, 5.0], [0.2, 0.3], None), ([0.0, 1.0], [-1.0, 2.0], 1.0)]
)
def test_metrics_that_mean_nothing_are_left_out(labels, scores, auc):
    collected = {"u": torch.tensor([0, 0]), "label": torch.tensor(labels), "score": torch.tensor(scores)}
    cold = activity_table(collected, {"u": torch.tensor([1])}, (10, 50), label_metrics)[0]
    assert cold.metrics == {"AUC": auc, "LogLoss": None}


def test_activity_of_ratings_by_hand():
    collected = {"u": torch.tensor([0, 0, 1]), "label": torch.tensor([3.0, 5.0, 1.0])}
    collected["score"] = torch.tensor([4.0, 2.0, 1.5])
    cold, medium, warm = activity_table(collected, {"u": torch.tensor([1, 10])}, (10, 50), rating_metrics)
    assert cold.metrics == pytest.approx({"RMSE": 5**0.5, "MAE": 2.0})
    assert medium.metrics == pytest.approx({"RMSE": 0.5, "MAE": 0.5})
    assert warm.metrics == {"RMSE": None, "MAE": None}


def made(name, entities, rows, widths, **options):
    budget = FieldBudget("user_id", entities, tuple(widths), rows=rows)
    strategy = get_strategy(name)(budget, CELSettings(**options))
    for width in widths:
        strategy.table(width, 0.1)
    return strategy


def test_bytes_by_hand():
    strategy = made("cel", 1000, 300, (8, 1), levels=1, folds=1)
    model = nn.ModuleList(strategy.tables)
    optimiser = torch.optim.Adam(model.parameters())
    sum(table(torch.arange(5)).sum() for table in strategy.tables).backward()
    optimiser.step()
    size = field_size("user_id", strategy, optimiser)
    assert (size.clusters, size.parameters, size.full_parameters) == (1, 2700, 9000)
    assert size.storage.rows == 2700 * 4
    assert size.storage.codes == 1000 * 2  # nine bits hold 300 clusters
    assert size.storage.training_codes == 300 * 9  # members of each cluster, and whether there are any
    assert size.storage.optimiser == 2 * 2700 * 4 + 2 * 4  # two moments, and a step count for each table
    assert size.storage.serving == 2700 * 4 + 2000
    assert size.storage.training == 3 * 2700 * 4 + 8 + 2000 + 2700
    assert (size.full_serving, size.full_training) == (9000 * 4, 9000 * 4 * 3)
    hashed = field_size("user_id", made("modulo_hash", 1000, 10, (8,)), None)
    assert (hashed.clusters, hashed.parameters, hashed.storage.training) == (None, 80, 320)


def test_codes_without_each_fold_are_needed_for_training_only():
    for rows, bits in ((128, 4), (131, 5)):
        storage = made("cel", 1000, rows, (8,), levels=8, folds=4).storage()
        assert storage.codes == bits * 1000
        assert storage.training_codes == 4 * bits * 1000 + rows * 9


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (2816, "2.8 kB"), (3.2e9, "3.2 GB")])
def test_byte_text(number, text):
    assert byte_text(number) == text


def test_report_shows_all_parts():
    rows = [ActivityRow("user_id", "cold", 3, 9, {"AUC": 0.75, "LogLoss": None})]
    size = field_size("user_id", made("modulo_hash", 100, 5, (4,)), None)
    text = final_report("FM_CEL", {"auc": 0.7, "logloss": 0.5}, rows, [size], (10, 50))
    for part in ("0.7", "user_id", "cold", "0.7500", "fewer than 10", "50 or more", "20.0x", "80 B"):
        assert part in text


def test_a_run_tells_what_happens(options, caplog, tmp_path):
    options.update(state="INFO", epochs=3, cel_max_clusters=8)
    logging.getLogger().setLevel(logging.INFO)
    run_recbole_cel("FM_CEL", "tiny", config_dict=options)
    text = caplog.text
    assert "user_id x item_id joint split at step 1: " in text and "directions, tests " in text
    assert "user_id split at step" in text and "-> 8 clusters" in text
    assert "item_id reassignment at step" in text
    assert "by activity" in text and "serving" in text and "training" in text
    assert "continue it with --cel_resume=saved" in text
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next((tmp_path / "log_tensorboard").iterdir())
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [one.value for one in events.Scalars("Clusters/user_id/split/clusters")][-1:] == [8.0]
    assert next(one.value for one in events.Scalars("Clusters/user_id x item_id/joint split/directions")) >= 1
    assert "Clusters/item_id/reassignment/loss_after" in events.Tags()["scalars"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--cel_max_cluster=3"],
            "cel_max_cluster is not an option of recbole_cel; did you mean cel_max_clusters?",
        ),
        (["--model=DeepFMM_CEL"], "did you mean DeepFM_CEL?"),
        (
            ["--cel_fields=['user_id','itemid']", "--epochs=1"],
            "'itemid', which is no token field of data set ml-100k",
        ),
        (["--cel_resume=nowhere.pth"], "cel_resume names nowhere.pth, which is no file"),
    ],
)
def test_command_line_errors_are_one_line(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recbole-cel", *arguments])
    assert command_line.main() == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("recbole_cel: ") and message in lines[-1]


def test_the_module_runs_from_any_folder(tmp_path):
    """One epoch of the main job on ml-100k, as a program."""
    command = [sys.executable, "-m", "recbole_cel", "--model=DeepFM_CEL", "--epochs=1", "--show_progress=False"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "DeepFM_CEL on ml-100k" in done.stderr + done.stdout
    assert (tmp_path / "saved").is_dir()
