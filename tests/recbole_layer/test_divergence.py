"""Ill-scaled data train, and training that diverges ends with one line."""

import math
from pathlib import Path

import pytest

from recbole_cel.quick_start import run_recbole_cel
from recbole_cel.trainer.divergence import DivergenceError


def add_feature(data, values):
    """Give the items of data set ``tiny`` a raw float feature."""
    file = data / "tiny" / "tiny.item"
    header, *lines = file.read_text().splitlines()
    lines = [f"{line}\t{value}" for line, value in zip(lines, values * len(lines))]
    file.write_text("\n".join([f"{header}\tsize:float", *lines]) + "\n")


@pytest.fixture
def featured(options, tmp_path):
    from tiny_data import write_tiny

    data = write_tiny(tmp_path / "own")
    options.update(data_path=str(data), numerical_features=["size"], epochs=2)
    options["load_col"]["item"] = ["item_id", "class", "size"]
    return options, data


@pytest.mark.parametrize("model", ["FM_CEL", "DCN_CEL", "DeepFM_CEL"])
@pytest.mark.parametrize(
    "values",
    [[1999.0, 2001.0], [1e3, -1e3], [1e6, 0.0], [1e9, 1.0], [5.0]],
    ids=["years", "thousands", "millions", "billions", "constant"],
)
@pytest.mark.quick(5)
def test_raw_float_features_do_not_break_events(featured, model, values):
    options, data = featured
    add_feature(data, values)
    options.update(cel_folds=4, cel_levels=2)
    try:
        result = run_recbole_cel(model, "tiny", config_dict=options, saved=False)["test_result"]
    except DivergenceError as error:
        # A feature of millions may be too much for the network itself; that is said.
        assert max(map(abs, values)) >= 1e6 and "training has diverged" in str(error)
        return
    assert math.isfinite(result["auc"])


@pytest.mark.parametrize("folds", [1, 4])
@pytest.mark.parametrize("model", ["FM", "FM_CEL", "DeepFM_CEL"])
def test_a_rate_that_is_far_too_large_is_one_line(options, model, folds):
    options.update(learning_rate=1e25, cel_folds=folds)
    with pytest.raises(
        DivergenceError, match=r"learning_rate is 1e\+25, and training has diverged: .* try 0\.001"
    ):
        run_recbole_cel(model, "tiny", config_dict=options)


def test_large_ratings_are_named_where_ratings_are_predicted(options):
    ratings = {"task": "rating", "threshold": None, "metrics": ["RMSE"], "valid_metric": "RMSE"}
    with pytest.raises(DivergenceError, match="or smaller numbers if ratings are large"):
        run_recbole_cel("MF_CEL", "tiny", config_dict={**options, **ratings, "learning_rate": 1e25})


def test_what_was_best_before_is_kept_and_named(options, monkeypatch):
    import torch

    from recbole_cel.trainer import Trainer

    train = Trainer._train_epoch

    def diverge(self, train_data, epoch_idx, *args, **kwargs):
        losses = train(self, train_data, epoch_idx, *args, **kwargs)
        if epoch_idx == 0:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        return losses

    monkeypatch.setattr(Trainer, "_train_epoch", diverge)
    with pytest.raises(DivergenceError, match="predictions are no numbers after epoch 0"):
        run_recbole_cel("FM_CEL", "tiny", config_dict=options)

    def diverge_later(self, train_data, epoch_idx, *args, **kwargs):
        if epoch_idx == 1:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.inf)
        return train(self, train_data, epoch_idx, *args, **kwargs)

    monkeypatch.setattr(Trainer, "_train_epoch", diverge_later)
    with pytest.raises(DivergenceError, match=r"batch 1 of epoch 1.*; the best model before is in saved/"):
        run_recbole_cel("FM_CEL", "tiny", config_dict=options)
    assert list(Path("saved").glob("FM_CEL-*.pth"))
