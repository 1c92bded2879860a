"""Results that are kept: one file for each job, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..runs.files import written_whole
from .job import Job

# What a result, or a reason why there is none, must hold to be one.
RESULT = ("valid", "test", "cold", "seconds", "epochs", "size", "full", "threads", "machine")
ERROR = "error"
MAX_BYTES = 1 << 20


class Cache:
    """The folder of results.

    Args:
        folder: made when the first result is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: str) -> Path:
        """The file of a job's result."""
        return self._folder / f"{key}.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """The result that is kept under ``key``; None if there is none, or its file is no result."""
        path = self.path(key)
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            found = json.loads(path.read_text(encoding="utf-8"))["result"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        whole = isinstance(found, dict) and (ERROR in found or all(name in found for name in RESULT))
        return found if whole else None

    def put(self, key: str, job: Job, result: dict[str, Any]) -> None:
        """Keep a result, with the job that it is of.

        Raises:
            OSError: if it cannot be written; nothing is left of it then.
        """
        text = json.dumps({"job": job.plain(), "result": result}, default=str, indent=1)
        with written_whole(self.path(key)) as file:
            file.write(f"{text}\n".encode())
