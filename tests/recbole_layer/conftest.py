"""A small data set, and options for short runs on it."""

import sys

import pytest
from tiny_data import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture
def options(tiny, tmp_path, monkeypatch):
    """Options for a short run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    return {
        "data_path": str(tiny),
        "threshold": {"rating": 3},
        "load_col": {
            "inter": ["user_id", "item_id", "rating"],
            "user": ["user_id", "age"],
            "item": ["item_id", "class"],
        },
        "epochs": 3,
        "train_batch_size": 256,
        "show_progress": False,
        "state": "WARNING",
        "cel_max_clusters": 4,
        "cel_levels": 1,
        "cel_split_gain": 0.0,
    }
