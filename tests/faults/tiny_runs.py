"""Short runs on the small data set, for all kinds of faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_data import write_tiny

from recbole_cel.quick_start import run_recbole_cel


def data(folder: Path) -> Path:
    """Write the data set under ``folder``, with a float feature of the items."""
    write_tiny(folder)
    file = folder / "tiny" / "tiny.item"
    header, *lines = file.read_text().splitlines()
    lines = [f"{line}\t{(7 * number) % 11 / 10}" for number, line in enumerate(lines)]
    file.write_text("\n".join([f"{header}\tsize:float", *lines]) + "\n")
    return folder


def options(folder: Path, model: str = "FM_CEL") -> dict[str, Any]:
    """Options of a short run of ``model`` on the data under ``folder``."""
    rated = model.startswith(("MF", "NMF", "NeuNMF"))
    return {
        "data_path": str(folder),
        "load_col": {
            "inter": ["user_id", "item_id", "rating"],
            "user": ["user_id", "age"],
            "item": ["item_id", "class", "size"],
        },
        "numerical_features": ["size"],
        **({} if rated else {"threshold": {"rating": 3}, "metrics": ["AUC"], "valid_metric": "AUC"}),
        **({"task": "rating"} if rated else {}),
        **{"epochs": 1, "train_batch_size": 640, "embedding_size": 4},
        **{"show_progress": False, "state": "ERROR"},
        **({"cel_max_clusters": 6, "cel_levels": 2} if model.endswith("_CEL") else {}),
    }


class Reached(BaseException):
    """Training would begin now."""


def until_training(model: str, given: dict[str, Any]) -> Any:
    """A run up to where training would begin; gives the trainer and its training data."""
    import recbole.trainer.trainer as of_recbole

    from recbole_cel.trainer import trainer as ours

    def fit(self: Any, train_data: Any, *args: Any, **options: Any) -> Any:
        raise Reached(self, train_data)

    ours.Trainer.fit = of_recbole.Trainer.fit = fit  # type: ignore[method-assign]
    try:
        run(model, given)
    except Reached as reached:
        return reached.args
    raise AssertionError("the run ended without training")


def run(model: str, given: dict[str, Any], saved: bool = False) -> dict[str, Any]:
    """A whole run."""
    return run_recbole_cel(model, "tiny", config_dict=dict(given), saved=saved)
