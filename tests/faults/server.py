"""A warm process that forks a child for every trial: ``python -m faults.server``, or one trial to look at.

    PYTHONPATH=..:.:helpers python -m faults.server KIND SEED NUMBER

in ``tests/`` does one trial in this process, with its traceback. Without arguments, each line of the input is a
kind, a seed and a number, and each line of the output says how that ended. Importing PyTorch and RecBole takes
seconds, forking a process that has them takes milliseconds; and what crashes or hangs takes only its child along.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import module_of
from .trial import CODE, CRASH, HANG, MARKER, Ending, perform

# Wall time for each second of CPU that a trial may take: others use this machine, too.
PATIENCE = 6
# Of memory, beyond what the warm process has.
MEMORY = 6 << 30


def main() -> int:
    """Serve, or do one trial."""
    # What a run imports at last, too: else each child would spend a second on it.
    for name in ("recbole_cel.quick_start", "thop", "torch._dynamo", "torch._inductor", "sklearn.model_selection"):
        importlib.import_module(name)
    import psutil
    import torch

    # RecBole says at the end of a run how busy the machine is, and measures that for a second.
    psutil.cpu_percent = lambda interval=None, percpu=False: 0.0
    torch.set_num_threads(1)
    sys.argv, words = ["faults"], sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        shared = Path(name)
        shared.chmod(0o755)  # for trials of a user with fewer rights
        if words:
            return _one(words[0], int(words[1]), int(words[2]), shared)
        answers = os.fdopen(os.dup(1), "w", buffering=1)
        prepared = set[str]()
        for line in sys.stdin:
            kind, seed, number = line.split()
            if kind not in prepared:
                prepare(kind, shared)
                prepared.add(kind)
                # Else each child would visit, and thereby copy, all that is imported.
                gc.collect()
                gc.freeze()
            answers.write(forked(kind, int(seed), int(number), shared).to_json() + "\n")
    return 0


def prepare(kind: str, shared: Path) -> None:
    """Make what all trials of a kind read, in a child: what it starts in PyTorch must not be forked later."""
    module = module_of(kind)
    folder = shared / kind
    folder.mkdir()

    def make() -> bytes:
        os.chdir(folder)
        module.prepare(folder)
        return b"done"

    if _in_child(make, 600, None)[0] != b"done":
        raise RuntimeError(f"{kind}: it could not be prepared")


def trial_of(kind: str, seed: int, number: int, shared: Path):
    """The trial of that number; always the same."""
    return module_of(kind).trial(random.Random(f"{kind} {seed} {number}"), shared / kind)


def forked(kind: str, seed: int, number: int, shared: Path) -> Ending:
    """Do a trial in a child, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=shared))
    seconds = module_of(kind).SECONDS

    def child() -> bytes:
        os.chdir(folder)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        return perform(trial_of(kind, seed, number, shared)).to_json().encode()

    try:
        answer, status = _in_child(child, PATIENCE * seconds, seconds)
        if answer:
            return Ending(**json.loads(answer))
        what = trial_of(kind, seed, number, shared).what
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            outcome, detail = HANG, f"no end after {seconds} s"
        else:
            number_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            name = signal.Signals(number_of).name if number_of else f"exit {os.waitstatus_to_exitcode(status)}"
            outcome, detail = CRASH, name
        return Ending(CODE if (folder / MARKER).exists() else outcome, detail, what)
    finally:
        _remove(folder)


def _in_child(call: Callable[[], bytes], patience: float, seconds: float | None) -> tuple[bytes, int | None]:
    """What ``call`` returns in a child, and the child's status; None if it had to be stopped."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.setsid()
            _limit(seconds)
            os.write(write, call())
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    answer, end = b"", time.monotonic() + patience
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            part = pipe.read(1 << 16)
            if not part:
                break
            answer += part
    stopped = not answer and time.monotonic() >= end
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL) if stopped or answer else None
    status = os.waitpid(pid, 0)[1]
    return answer, None if stopped else status


def _limit(seconds: float | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if seconds is None:
        return
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    most = int(spent + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def _remove(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def _one(kind: str, seed: int, number: int, shared: Path) -> int:
    os.environ.setdefault("RECBOLE_CEL_TRACEBACK", "1")
    prepare(kind, shared)
    folder = shared / "trial"
    folder.mkdir()
    os.chdir(folder)
    trial = trial_of(kind, seed, number, shared)
    print(f"{kind} {seed} {number}: {trial.what}", flush=True)
    import dataclasses
    import traceback

    call = trial.call

    def loud():
        try:
            return call()
        except BaseException:
            traceback.print_exc()
            raise

    ending = perform(dataclasses.replace(trial, call=loud))
    print(f"{ending.outcome}: {ending.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
