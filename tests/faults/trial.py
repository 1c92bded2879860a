"""One trial of a fault, and how it ended."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_cel import __main__ as program

from . import OUTCOMES

RIGHT, LINE, TRACEBACK, HANG, CRASH, CODE, SILENT = OUTCOMES
GOOD = (RIGHT, LINE)
# What planted code makes, in the folder of the trial.
MARKER = "ran"
# Seconds of CPU that it may take until bad input is refused.
REFUSING = 5.0
# What is longer is not read.
LINE_LENGTH = 1000


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        what: the fault in words, for whoever reproduces it.
        call: does it; what it returns is given to ``wrong``.
        refused: whether it must be refused (True) or must be accepted (False), where that is known.
        wrong: what is wrong with a result, or None.
        after: what is wrong with what is left behind, or None, however it ended.
        started: whether training had begun, for what must be refused before.
    """

    what: str
    call: Callable[[], Any]
    refused: bool | None = None
    wrong: Callable[[Any], str | None] = lambda result: None
    after: Callable[[], str | None] = lambda: None
    started: Callable[[], bool] = lambda: False


@dataclass
class Ending:
    """How a trial ended.

    Attributes:
        outcome: one of ``OUTCOMES``.
        detail: the line, or the error.
        what: the fault in words.
        recbole: whether the line is RecBole's own error, named but not translated.
        seconds: of CPU.
        kills: processes that were killed in it.
    """

    outcome: str
    detail: str = ""
    what: str = ""
    recbole: bool = False
    seconds: float = 0.0
    kills: int = field(default=0)

    def to_json(self) -> str:
        return json.dumps(self.__dict__)


def perform(trial: Trial) -> Ending:
    """Do ``trial`` in the present folder and process."""
    begin = time.process_time()
    outcome, detail, kills, recbole = RIGHT, "", 0, False
    try:
        result = trial.call()
        if isinstance(result, dict):
            kills = result.get("kills", 0)
        detail = trial.wrong(result) or ""
        if trial.refused:
            outcome, detail = SILENT, "accepted"
        elif detail:
            outcome = SILENT
    except BaseException as error:
        outcome, detail = _of_error(error)
        recbole = detail.startswith("RecBole stopped with")
        if outcome == LINE and trial.refused is False:
            outcome, detail = SILENT, f"refused, though it is right: {detail}"
        elif outcome == LINE and trial.started():
            outcome, detail = SILENT, f"said after training has begun: {detail}"
    seconds = time.process_time() - begin
    if outcome == LINE and seconds > REFUSING:
        outcome = HANG
    left = trial.after()
    if outcome in GOOD and left:
        outcome, detail = SILENT, f"{left} ({detail})"
    if Path(MARKER).exists():
        outcome = CODE
    return Ending(outcome, detail[:600], trial.what[:600], recbole, seconds, kills)


def _of_error(error: BaseException) -> tuple[str, str]:
    if isinstance(error, KeyboardInterrupt):
        return LINE, "interrupted"
    line = program._one_line(error)[0] if isinstance(error, Exception) else None
    if line is None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno}"
        return TRACEBACK, f"{type(error).__name__} at {place}: {' '.join(str(error).split())}"
    line = " ".join(line.split())
    if len(line) > LINE_LENGTH:
        return TRACEBACK, f"a line of {len(line)} characters: {line}"
    return LINE, line


def unless_finite(result: dict[str, Any]) -> str | None:
    """What is wrong with the result of a run whose metrics must be numbers."""
    found = result["test_result"]
    if not found:
        return f"no metrics: {found}"
    return None if all(math.isfinite(value) for value in found.values()) else f"metrics are {dict(found)}"
