"""Adjusted Rand index of the codes that a run finds with the groups that were planted.

python benchmarks/pairs_data.py --folder data
python benchmarks/planted_codes.py --data_path data --models FM_CEL DeepFM_CEL
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from pairs_data import PLANTED
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed
from sklearn.metrics import adjusted_rand_score
from tabulate import tabulate

from recbole_cel.config import Config
from recbole_cel.embedding import levels_of
from recbole_cel.model import get_model
from recbole_cel.trainer import get_trainer

PROPERTIES = Path(__file__).parent / "properties" / "labels.yaml"


def found_codes(model: str, seed: int, data_path: str, folder: str) -> list[list[object]]:
    """A row for each field: its clusters, and how its codes agree with the planted groups."""
    options = {
        "data_path": data_path,
        "checkpoint_dir": folder,
        "show_progress": False,
        "state": "ERROR",
        "cel_checkpoint_interval": 0,
    }
    config = Config(model, f"groups-{seed}", [str(PROPERTIES)], options, command_line=False)
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    network = get_model(config["model"], config["task"])(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    trainer.fit(train_data, valid_data, saved=False, show_progress=False)
    rows: list[list[object]] = []
    planted = PLANTED["groups"](torch.Generator().manual_seed(seed))
    for field, groups in zip(("user_id", "item_id"), planted.groups):
        # The first token of a field is padding; the others are the ids that were planted.
        ids = torch.tensor([int(token) for token in train_data._dataset.field2id_token[field][1:]])
        levels = levels_of(network.embedding_strategies[field].tables[0])
        codes = torch.stack([level.assignment.clusters()[1:] for level in levels], dim=1)
        code = codes.unique(dim=0, return_inverse=True)[1]
        clusters = [level.assignment.num_clusters for level in levels]
        rows.append([model, seed, field, " ".join(map(str, clusters)), adjusted_rand_score(groups[ids], code)])
    return rows


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["FM_CEL"])
    parser.add_argument("--data_path", required=True, help="folder that pairs_data.py wrote to")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="of the data")
    args = parser.parse_args()
    sys.argv = sys.argv[:1]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            for seed in args.seeds:
                rows += found_codes(model, seed, args.data_path, folder)
    headers = ["model", "data", "field", "clusters by level", "adjusted Rand index"]
    print(tabulate(rows, headers=headers, floatfmt=".3f"))


if __name__ == "__main__":
    main()
