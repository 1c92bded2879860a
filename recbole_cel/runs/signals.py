"""Ctrl-C and SIGTERM: a run ends with one line, says how to go on, and never stops within a write."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The process was told to stop.

    A ``KeyboardInterrupt``, so that whoever lets Ctrl-C pass lets SIGTERM pass, too.

    Attributes:
        code: exit status of the process, 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class _State:
    """What the handlers need to know; signals are of the whole process, and so is this."""

    def __init__(self) -> None:
        self.writing = 0  # writes in progress
        self.received: int | None = None  # a signal that has not ended the run yet
        self.resume_file: Path | None = None
        self.advice: str | None = None
        self.handler: Callable[[int, FrameType | None], None] | None = None


_STATE = _State()


def resumable(file: str | os.PathLike[str] | None) -> None:
    """Tell from which file the run that begins now could be continued, once it is there; None for none."""
    _STATE.resume_file = None if file is None else Path(file)


def say_when_stopped(advice: str) -> None:
    """Within :func:`stoppable`, tell what to do after a stop, where it is no run of one model that is stopped."""
    _STATE.advice = advice


def how_to_resume() -> str:
    """What to do after the run was stopped, in words."""
    if _STATE.advice is not None:
        return _STATE.advice
    file = _STATE.resume_file
    if file is not None and file.is_file():
        return f"continue with the same options and --cel_resume={file}"
    return "no epoch was saved yet, so start it again"


def check() -> None:
    """Stop if a signal came that has not stopped the run: Python swallows what is raised in a finaliser.

    Raises:
        Stopped: if so.
    """
    if _STATE.received is not None and not _STATE.writing:
        number, _STATE.received = _STATE.received, None
        raise Stopped(number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that come within the block stop the run at its end."""
    _STATE.writing += 1
    try:
        yield
    finally:
        _STATE.writing -= 1
    check()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM end the process with one line on stderr and status 130 or 143.

    Also a decorator. Signals that the process was started to ignore stay ignored, and outside of the main thread
    nothing changes.

    Raises:
        SystemExit: in place of the signal's exception.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker that was forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        _STATE.received = number
        if not _STATE.writing:
            raise Stopped(number)

    before = _install(stop)
    _STATE.handler = stop
    try:
        yield
    except KeyboardInterrupt as error:
        # A second signal ends the process at once: nothing is left to be written.
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        before = {}
        code = error.code if isinstance(error, Stopped) else 128 + signal.SIGINT
        name = "SIGTERM" if code == 128 + signal.SIGTERM else "Ctrl-C"
        print(f"\nrecbole_cel: stopped by {name}; {how_to_resume()}", file=sys.stderr, flush=True)
        raise SystemExit(int(code)) from None
    finally:
        _STATE.received = _STATE.handler = _STATE.advice = None
        for number, handler in before.items():
            signal.signal(number, handler)


def take_back() -> None:
    """Within :func:`stoppable`, handle the signals again: libraries take them over when they are imported."""
    if _STATE.handler is not None:
        _install(_STATE.handler)


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install ``handler``; gives what was there before."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in HANDLED:
            present = signal.getsignal(number)
            if present is not signal.SIG_IGN and present is not None:
                before[number] = signal.signal(number, handler)
    return before
