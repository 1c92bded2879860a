"""Options of the suite of faults, and the table at its end; see ``faults``."""

from __future__ import annotations

import os

from faults import report


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
