"""Tests run side by side, slow variants are left out, and the suite of faults has options and a table."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import torch
from faults import report

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # Each process keeps to its share of the cores, and so do those that it starts.
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    torch.set_num_threads(share)
    os.environ["OMP_NUM_THREADS"] = str(share)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Faults are counted in one process, which watches many."""
    if config.option.markexpr == "faults":
        config.option.numprocesses, config.option.dist = None, "no"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark all but the first n variants of a test marked ``quick(n)`` as slow."""
    seen = Counter()
    for item in items:
        mark = item.get_closest_marker("quick")
        if mark is None:
            continue
        name = item.nodeid.split("[")[0]
        seen[name] += 1
        if seen[name] > mark.args[0]:
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser):
    group = parser.getgroup("faults")
    group.addoption(
        "--faults-cases",
        type=int,
        default=int(os.environ.get("FAULTS_CASES", 3000)),
        help="faults that are tried in all (default: FAULTS_CASES, or 3000)",
    )
    group.addoption("--faults-json", metavar="FILE", help="file that a line with the counts is appended to")


def pytest_terminal_summary(terminalreporter, config):
    tried = config.stash.get(report.TRIED, None)
    if not tried:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(report.table(tried))
    if config.getoption("--faults-json"):
        report.append(config.getoption("--faults-json"), tried)
