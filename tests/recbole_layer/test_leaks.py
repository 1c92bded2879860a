"""Labels that training must not see: those of validation and test, and, for codes, an interaction's own."""

from pathlib import Path

import pytest
import torch

from recbole_cel.quick_start import load_data_and_model, run_recbole_cel


def write_splits(folder, flipped):
    """Three files, of which the labels of the last two are flipped or not."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    for part, number in (("train", 3000), ("valid", 400), ("test", 400)):
        users = torch.randint(60, (number,), generator=generator)
        items = torch.randint(40, (number,), generator=generator)
        chance = torch.where((users + items) % 2 == 0, 0.8, 0.2)
        labels = torch.bernoulli(chance, generator=generator)
        if flipped and part != "train":
            labels = 1 - labels
        rows = zip(users.tolist(), items.tolist(), labels.tolist())
        lines = ["user_id:token\titem_id:token\tlabel:float", *(f"{u}\t{i}\t{y}" for u, i, y in rows)]
        (folder / f"splits.{part}.inter").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("model", ["FM_CEL", "DeepFM_CEL"])
def test_flipped_labels_of_validation_and_test_change_nothing_in_training(model, options, tmp_path):
    states = []
    for flipped in (False, True):
        folder = tmp_path / f"data-{flipped}"
        write_splits(folder / "splits", flipped)
        merged = {
            **options,
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "label"]},
            "threshold": None,
            "LABEL_FIELD": "label",
            "benchmark_filename": ["train", "valid", "test"],
            "checkpoint_dir": str(tmp_path / f"saved-{flipped}"),
            "epochs": 4,
            "stopping_step": 99,
            "cel_levels": 3,
            "cel_max_clusters": 12,
            "cel_split_gain": 1.0,
        }
        run_recbole_cel(model, "splits", config_dict=merged)
        (last,) = Path(merged["checkpoint_dir"]).glob("*-last.pth")
        states.append(load_data_and_model(str(last))[1].state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    codes = [value for name, value in states[0].items() if name.endswith("codes.words")]
    assert any(len(code.unique()) > 1 for code in codes)
