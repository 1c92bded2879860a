"""The suite sees what it looks for."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from faults import OUTCOMES, server
from faults.trial import MARKER, Trial
from recbole_cel.options import SettingError


def fail(error):
    raise error


def spin():
    while True:
        pass


def begin_and_fail():
    Path("begun").touch()
    fail(SettingError("x", "is wrong"))


CASES = {
    "a value": (Trial("", lambda: 1), "right"),
    "refused": (Trial("", lambda: fail(SettingError("x", "is wrong")), refused=True), "one line"),
    "a full disk": (Trial("", lambda: fail(OSError(28, "No space left on device"))), "one line"),
    "a bug": (Trial("", lambda: fail(KeyError("x"))), "traceback"),
    "a long line": (Trial("", lambda: fail(OSError(28, "x" * 2000))), "traceback"),
    "an exit": (Trial("", lambda: fail(SystemExit(0))), "traceback"),
    "a loop": (Trial("", spin), "hang"),
    "waiting": (Trial("", lambda: time.sleep(99)), "hang"),
    "a crash": (Trial("", lambda: os.kill(os.getpid(), signal.SIGKILL)), "crash"),
    "the end of the process": (Trial("", lambda: os._exit(3)), "crash"),
    "code": (Trial("", Path(MARKER).touch), "code"),
    "code, then a line": (Trial("", lambda: [Path(MARKER).touch(), fail(SettingError("x", "y"))]), "code"),
    "code, then a crash": (Trial("", lambda: [Path(MARKER).touch(), os._exit(3)]), "code"),
    "accepted": (Trial("", lambda: 1, refused=True), "silent"),
    "refused, though right": (Trial("", lambda: fail(SettingError("x", "y")), refused=False), "silent"),
    "a wrong result": (Trial("", lambda: 1, wrong=lambda found: "it is 1"), "silent"),
    "files left": (Trial("", lambda: fail(OSError(28, "full")), after=lambda: "x.tmp was left"), "silent"),
    "late": (Trial("", begin_and_fail, started=lambda: Path("begun").exists()), "silent"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_outcome_is_seen(case, tmp_path, monkeypatch):
    trial, outcome = CASES[case]
    kind = SimpleNamespace(SECONDS=1.0, trial=lambda random, folder: trial)
    monkeypatch.setattr(server, "module_of", lambda name: kind)
    monkeypatch.setattr(server, "PATIENCE", 4)
    ending = server.forked("some", 0, 0, tmp_path)
    assert ending.outcome == outcome, ending
    assert list(tmp_path.iterdir()) == []


def test_all_outcomes_are_tried():
    assert {outcome for _, outcome in CASES.values()} == set(OUTCOMES)
