"""A process that runs jobs one after another: a line of JSON in for each, and one out.

It ends with its standard input, that is, with the process that started it, in the midst of a job too.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import tempfile
import threading
import warnings
from typing import Any, TextIO

from ..options import SettingError


def main() -> None:
    """Run jobs until there are no more; the only argument is a folder of its own for what they write."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    scratch = tempfile.tempdir = sys.argv[1]
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin, lines, scratch), daemon=True).start()
    while True:
        answers.write(json.dumps(_answer(lines.get()), default=str) + "\n")
        answers.flush()


def _read(stream: TextIO, lines: queue.Queue[str], scratch: str) -> None:
    for line in stream:
        lines.put(line)
    # Its owner removes the folder as well, when this has ended; but it may have been killed. What the job at hand
    # writes meanwhile takes another attempt.
    for _ in range(5):
        shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)  # nobody waits for the job at hand


def _answer(line: str) -> dict[str, Any]:
    try:
        from .job import job_from, run

        return run(job_from(json.loads(line)))
    except SettingError as error:
        # It would be the same again: kept like a result.
        return {"error": str(error), "kept": True}
    except MemoryError:
        return {"error": "there is not enough memory"}
    except Exception as error:  # of RecBole or of a model: a cell without a value, and not the end of the table
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


if __name__ == "__main__":
    main()
