"""Counts of how trials ended: as a table, and as a line of a file."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tabulate import tabulate

from . import OUTCOMES

VERSIONED = ("recbole-cel", "recbole", "torch", "numpy", "pandas")


@dataclass
class Tried:
    """What was tried in this session.

    Attributes:
        counts: by kind and outcome.
        own_words: of the lines, those in which RecBole's own error is named but not translated.
        kills: processes that were killed.
        resumed: kills after which the run ended bit-equal.
        seeds: that were used.
        begin: when it began.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    own_words: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    resumed: int = 0
    seeds: set[int] = field(default_factory=set)
    begin: float = field(default_factory=time.monotonic)

    def add(self, kind: str, seed: int, ending: dict[str, Any]) -> None:
        """Count one trial."""
        self.seeds.add(seed)
        self.counts.setdefault(kind, Counter())[ending["outcome"]] += 1
        self.own_words[kind] += ending["recbole"]
        self.kills += ending["kills"]
        self.resumed += ending["kills"] if ending["outcome"] == "right" else 0


TRIED = pytest.StashKey[Tried]()


def table(tried: Tried) -> str:
    """Counts by kind and outcome, for people."""
    rows = [
        [kind, counts.total(), *(counts[outcome] for outcome in OUTCOMES), tried.own_words[kind]]
        for kind, counts in tried.counts.items()
    ]
    rows.append(["all", *(sum(column) for column in list(zip(*rows))[1:])])
    header = ["kind", "tried", *OUTCOMES, "of the lines: RecBole's own words"]
    seconds = time.monotonic() - tried.begin
    kills = f"{tried.kills} kills, {tried.resumed} bit-equal resumes" if tried.kills else "no kills"
    return f"{tabulate(rows, header)}\nseeds {sorted(tried.seeds)}, {kills}, {seconds:.0f} s"


def append(file: str, tried: Tried) -> None:
    """Append a line of counts, versions and the date."""
    line = {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "seeds": sorted(tried.seeds),
        "seconds": round(time.monotonic() - tried.begin),
        "kills": tried.kills,
        "resumed": tried.resumed,
        "counts": {
            kind: {outcome: counts[outcome] for outcome in OUTCOMES} for kind, counts in tried.counts.items()
        },
        "own_words": {kind: tried.own_words[kind] for kind in tried.counts},
    }
    with Path(file).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return found.stdout.strip() or "unknown"
