"""The command line in a forked process: as in one of its own, without the seconds that imports take."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    """Exit code of a process (negative for a signal), and what it printed, logged lines included."""

    code: int
    text: str

    def one_line(self) -> str:
        """The only line that speaks of the end."""
        lines = [line for line in self.text.splitlines() if line.startswith("recbole_cel:")]
        assert len(lines) == 1 and "Traceback" not in self.text, self.text
        return lines[0]


def start(
    options: dict[str, object], folder: Path, before: Callable[[], object] = lambda: None
) -> tuple[int, int]:
    """Start a run of ``FM_CEL`` on ``tiny`` in ``folder``; gives its process id and a pipe of what it prints.

    Args:
        options: of the run, one may be ``model``.
        folder: its working directory.
        before: called in the process first.
    """
    options = {"model": "FM_CEL", "dataset": "tiny", **options}
    printed, end = os.pipe()
    process = os.fork()
    if process:
        os.close(end)
        return process, printed
    code = 99
    try:
        os.chdir(folder)
        os.dup2(end, 1)
        os.dup2(end, 2)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
        sys.argv = ["recbole_cel", *(f"--{key}={value}" for key, value in options.items())]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from recbole_cel.__main__ import main

        before()
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)  # whatever happens, or two processes would run the tests from here on


def finish(process: int, printed: int) -> Outcome:
    """Wait for what :func:`start` started."""
    with os.fdopen(printed, errors="replace") as stream:
        text = stream.read()
    _, status = os.waitpid(process, 0)
    return Outcome(os.waitstatus_to_exitcode(status), text)


def run(options: dict[str, object], folder: Path, before: Callable[[], object] = lambda: None) -> Outcome:
    """Start a run, and wait for its end."""
    return finish(*start(options, folder, before))
