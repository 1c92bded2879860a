"""A table on a tiny data set, and a pool that runs its jobs in this process."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from tiny_data import write_tiny

from recbole_cel.options import SettingError
from recbole_cel.tables import job as jobs
from recbole_cel.tables.pool import Done

TABLE = """
title: Tiny
datasets: [tiny, nowhere]
choose: auc
cold: [20]
columns:
  - {name: AUC, metric: auc}
  - {name: LogLoss, metric: logloss, best: lower}
  - {name: kB, size: serving}
grid: {learning_rate: [0.001, 0.02]}
seeds: [1, 2]
rows:
  - {label: full, model: FM, strategy: full}
  - label: CEL
    model: FM
    strategy: cel
    ours: True
    options: {cel_max_clusters: 4, cel_levels: 1, cel_split_gain: 0.0}
  - {label: too small, model: FM, strategy: modulo_hash, options: {embedding_budget: 1 B}}
pictures:
  - {x: serving, x_label: kB, y: AUC, y_label: test AUC, log: True}
quick: {seeds: [1], options: {epochs: 1}, datasets: [tiny]}
"""
PROTOCOL = """
load_col: {inter: [user_id, item_id, rating]}
threshold: {rating: 3}
train_batch_size: 256
epochs: 2
metrics: [AUC, LogLoss]
valid_metric: AUC
"""


def write_table(folder: Path, text: str = TABLE) -> Path:
    """Write the table, its data set and how that is used under ``folder``; gives the table's file."""
    if not (folder / "tiny").is_dir():
        write_tiny(folder)
        (folder / "data" / "tiny").mkdir(parents=True)
        (folder / "data" / "tiny" / "label.yaml").write_text(PROTOCOL)
    (folder / "tiny.yaml").write_text(text)
    return folder / "tiny.yaml"


class Here:
    """In the place of a pool; ``ran`` has the jobs."""

    ran: list[jobs.Job] = []  # noqa: RUF012 (of all pools)
    broken: str | None = None

    def __init__(self, number: int) -> None:
        self._jobs: deque[tuple[str, jobs.Job]] = deque()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.clear()

    def submit(self, key: str, job: jobs.Job) -> None:
        self._jobs.append((key, job))

    def next(self) -> Done:
        key, job = self._jobs.popleft()
        self.ran.append(job)
        try:
            return Done(key, job, jobs.run(job))
        except SettingError as error:
            return Done(key, job, {"error": str(error), "kept": True})
