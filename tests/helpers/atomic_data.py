"""A data set of 120 ratings of 12 users and 17 items, whose files a test may spoil; nothing is trained on it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from recbole.utils import init_seed

from recbole_cel.config import Config
from recbole_cel.inputs.prepare import prepare_data
from recbole_cel.options import SettingError

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ROWS = [(f"u{n % 12}", f"i{n * 7 % 17}", str(1 + (n * 5 + n // 7) % 5), str(1000 + n)) for n in range(120)]
LOAD = {
    "inter": ["user_id", "item_id", "rating", "timestamp"],
    "user": ["user_id", "age", "gender"],
    "item": ["item_id", "class", "vector"],
}


def interactions(rows=ROWS, header=HEADER) -> str:
    """Text of an ``.inter`` file."""
    return "\n".join([header, *map("\t".join, rows)]) + "\n"


def with_value(number: int, column: int, value: str) -> str:
    """Text of an ``.inter`` file in which one value of the row in line ``number`` is another."""
    rows = [list(row) for row in ROWS]
    rows[number - 2][column] = value
    return interactions(rows)


def with_column(header: str, value) -> str:
    """Text of an ``.inter`` file with ``value(n)`` in row ``n`` in the place of the rating."""
    rows = [(user, item, value(n), time) for n, (user, item, _, time) in enumerate(ROWS)]
    return interactions(rows, HEADER.replace("rating:float", header))


USERS = "user_id:token\tage:float\tgender:token\n" + "".join(f"u{n}\t{20 + n}\t{'MF'[n % 2]}\n" for n in range(12))
ITEMS = "item_id:token\tclass:token_seq\tvector:float_seq\n" + "".join(
    f"i{n}\tc{n % 3} c{n % 4}\t0.{n} 1 2\n" for n in range(17)
)


def write_files(folder: Path, name: str = "small", **files: str | bytes | None) -> Path:
    """Write the data set, with other contents of files by suffix (``train_inter`` for ``.train.inter``).

    None leaves a file out.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    for kind, text in {"inter": interactions(), "user": USERS, "item": ITEMS, **files}.items():
        path = folder / name / f"{name}.{kind.replace('_', '.')}"
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def prepared(folder: Path, model: str = "FM_CEL", name: str = "small", **options: Any) -> Any:
    """What ``prepare_data`` makes of the data set."""
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": LOAD,
        "threshold": {"rating": 3},
        "train_batch_size": 16,
        "use_gpu": False,
        "show_progress": False,
    }
    # What RecBole's own logger was left with by other tests.
    logging.getLogger().setLevel(logging.WARNING)
    config = Config(model, name, config_dict={**settings, **options})
    init_seed(config["seed"], config["reproducibility"])
    return prepare_data(config)


def check_one_line(words: Iterable[str], folder: Path, model: str = "FM_CEL", **options: Any) -> None:
    """Check that preparing the data ends with one line that has all ``words``."""
    with pytest.raises(SettingError) as caught:
        prepared(folder, model, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
