"""Jobs in processes: as many at once as there are cores, and none that outlives its owner."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .job import Job

PACKAGE = Path(__file__).resolve().parents[1]
# What libraries of linear algebra read before they start their threads.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Done(NamedTuple):
    """A job that came to its end, with its result or ``{"error": ...}``."""

    key: str
    job: Job
    result: dict[str, Any]


class Worker:
    """A process that runs jobs one after another; it begins with the first.

    Args:
        threads: that libraries may compute with.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        self._scratch = tempfile.mkdtemp(prefix="recbole_cel-")
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{PACKAGE.name}.tables.worker", self._scratch],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for its owner, who ends it
            )
        except OSError:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise

    def run(self, job: Job) -> dict[str, Any]:
        """Wait for a job's result."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job.plain()) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if line:
                found: dict[str, Any] = json.loads(line)
                return found
        except (OSError, ValueError):
            pass
        code = self._process.wait()
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        return {"error": f"its process {ended}{self._last_words()}"}

    @property
    def alive(self) -> bool:
        """Whether it can take a job."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it does."""
        with suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            # It tidies up and goes by itself.
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last[:200]}" if last else ""


class Pool:
    """Runs jobs in several processes; used as a context, whose end is theirs.

    Args:
        number: of processes.
    """

    def __init__(self, number: int) -> None:
        self._jobs: queue.Queue[tuple[str, Job] | None] = queue.Queue()
        self._done: queue.Queue[Done] = queue.Queue()
        self._workers = list[Worker]()
        self._lock = threading.Lock()
        self._ended = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(number)]

    def __enter__(self) -> Pool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
            workers = list(self._workers)
        for _thread in self._threads:
            self._jobs.put(None)
        for worker in workers:
            worker.end()

    def submit(self, key: str, job: Job) -> None:
        """Queue a job."""
        self._jobs.put((key, job))

    def next(self) -> Done:
        """The next job that came to its end; waits for it, and lets signals through."""
        while True:
            with suppress(queue.Empty):
                return self._done.get(timeout=1.0)

    def _serve(self) -> None:
        worker: Worker | None = None
        while (item := self._jobs.get()) is not None and not self._ended:
            key, job = item
            try:
                if worker is None or not worker.alive or worker.threads != job.threads:
                    old, worker = worker, None
                    worker = self._replaced(old, job.threads)
                if worker is None:
                    return
                result = worker.run(job)
            except (
                Exception
            ) as error:  # such as a full disk, or options that cannot be sent; nobody waits for ever
                result = {"error": f"it cannot be run: {type(error).__name__}: {error}"}
            self._done.put(Done(key, job, result))

    def _replaced(self, old: Worker | None, threads: int) -> Worker | None:
        if old is not None:
            old.end()
        with self._lock:
            if self._ended:
                return None
            if old is not None:
                self._workers.remove(old)
            self._workers.append(Worker(threads))
            return self._workers[-1]
