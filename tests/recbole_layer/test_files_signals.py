"""Ctrl-C and SIGTERM end a run with one line, and leave what can be resumed from."""

import functools
import os
import signal
import subprocess
import sys
import time

import child
import pytest
import recbole.trainer
import torch

from recbole_cel import quick_start
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs import files, signals
from recbole_cel.trainer import Trainer

WHOLE = []  # the state of a run that was left alone
CODES = {signal.SIGINT: (130, "Ctrl-C"), signal.SIGTERM: (143, "SIGTERM")}


class Dropped:
    """Raises where Python swallows it."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)


def at_call(owner, name, count, number, *, halfway=None):
    """Send the signal within call ``count`` of ``owner.name``; gives what installs that."""

    def install():
        original, calls = getattr(owner, name), iter(range(10**6))

        # With what PyTorch has noted on an optimiser's step: else it would call what follows each step twice.
        @functools.wraps(original)
        def wrapper(*args, **kwargs):
            if next(calls) == count:
                if halfway:
                    halfway(*args)
                os.kill(os.getpid(), number)
            return original(*args, **kwargs)

        setattr(owner, name, wrapper)

    return install


def swallowed(number):
    def install():
        original = recbole.trainer.Trainer._train_epoch

        def wrapper(trainer, data, epoch, *args, **kwargs):
            if epoch == 2:
                Dropped(number)
            return original(trainer, data, epoch, *args, **kwargs)

        recbole.trainer.Trainer._train_epoch = wrapper

    return install


# Where the signal comes, and the epochs that are finished and saved by then.
MOMENTS = {
    "before the options": ((quick_start, "run"), 0, 0),
    "reading the data": ((quick_start, "prepare_data"), 0, 0),
    "making the model": ((quick_start, "get_flops"), 0, 0),
    "the first epoch": ((recbole.trainer.Trainer, "_train_epoch"), 0, 0),
    "a later epoch": ((recbole.trainer.Trainer, "_train_epoch"), 2, 2),
    "a step": ((torch.optim.Adam, "step"), 11, 2),
    "validation": ((recbole.trainer.Trainer, "evaluate"), 2, 2),
    "an event": ((Trainer, "_on_event"), 1, 1),
    "before a state is written": ((Trainer, "_write_state"), 2, 2),
    "writing": ((torch, "save"), 3, None),  # how many epochs are done depends on which were the best so far
    "putting a file on the disk": ((files.os, "fsync"), 7, None),
    "renaming a file": ((files.os, "replace"), 3, None),
    "the test": ((Trainer, "report"), 0, 4),
}


@pytest.fixture
def run_options(options):
    return {**options, "epochs": 4, "stopping_step": 9, "cel_split_interval": 1.0}


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.quick(8)
def test_stopped_runs_say_how_to_resume(moment, number, run_options, tmp_path):
    (owner, name), count, epochs = MOMENTS[moment]
    stopped(at_call(owner, name, count, number), number, epochs, run_options, tmp_path)


@pytest.mark.parametrize("number", CODES)
def test_signals_that_python_swallows(number, run_options, tmp_path):
    stopped(swallowed(number), number, None, run_options, tmp_path)


def stopped(install, number, epochs, options, folder):
    outcome = child.run(options, folder, install)
    code, name = CODES[number]
    assert outcome.code == code, outcome.text
    line = outcome.one_line()
    assert line.startswith(f"recbole_cel: stopped by {name}; ")
    assert not list((folder / "saved").glob(".*")), "nothing is left"
    last = list((folder / "saved").glob("*-last.pth"))
    if epochs == 0:
        assert not last and line.endswith("start it again")
    if epochs != 0:
        assert line.endswith(f"--cel_resume={last[0].relative_to(folder)}")
        state = checkpoints.read(last[0])
        assert epochs is None or state["epoch"] == epochs - 1
    if epochs != 0 and number == signal.SIGTERM:
        resumed = child.run({**options, "cel_resume": str(last[0])}, folder)
        assert resumed.code == 0, resumed.text
        if not WHOLE:
            assert child.run({**options, "checkpoint_dir": "whole"}, folder).code == 0
            WHOLE.append(checkpoints.read(next((folder / "whole").glob("*-last.pth"))))
        found = checkpoints.read(last[0])
        for part in ("state_dict", "optimizer", "best_valid_result", "best_valid_score", "random"):
            assert checkpoints.digest(found[part]) == checkpoints.digest(WHOLE[0][part]), part


def test_a_process_of_its_own(run_options, tmp_path):
    flags = [f"--{key}={value}" for key, value in {**run_options, "epochs": 500, "stopping_step": 500}.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "recbole_cel", "--model=FM_CEL", "--dataset=tiny", *flags],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.glob("saved/*-last.pth")) and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    errors = process.communicate()[1]
    assert process.returncode == 143 and "Traceback" not in errors
    assert "recbole_cel: stopped by SIGTERM; continue with the same options and --cel_resume=saved/" in errors


def test_handlers_are_put_back_and_ignored_signals_stay_ignored():
    before = signal.getsignal(signal.SIGTERM)
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.stoppable():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not before
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGINT, kept)
    assert signal.getsignal(signal.SIGINT) is kept
