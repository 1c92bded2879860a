"""Whatever is broken is right or one line: no traceback, no hang, no crash, no code, no silent error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults import KINDS, SEEDS, trials_of
from faults.report import TRIED, Tried

TESTS = Path(__file__).parents[1]
SERVER = [sys.executable, "-W", "ignore", "-m", "faults.server"]
# Of failures, so many are shown.
SHOWN = 20


class Server:
    """A warm process that forks a child for every trial."""

    def __init__(self, folder: Path) -> None:
        paths = [str(TESTS.parent), str(TESTS), str(TESTS / "helpers"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1,
            env=environment, cwd=folder,
        )  # fmt: skip

    def ending(self, kind, seed, number):
        self._process.stdin.write(f"{kind} {seed} {number}\n")
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"the server of faults ended: {self._log.read()[-3000:]}")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("faults"))
    yield server
    server.close()


@pytest.mark.faults
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_faults_are_right_or_one_line(kind, seed, server, request):
    tried = request.config.stash.setdefault(TRIED, Tried())
    failures = []
    for number in range(trials_of(kind, request.config.getoption("--faults-cases"))):
        ending = server.ending(kind, seed, number)
        tried.add(kind, seed, ending)
        if ending["outcome"] not in ("right", "one line"):
            failures.append(f"{kind} {seed} {number}: {ending['outcome']}: {ending['what']}: {ending['detail']}")
    shown = "\n".join(failures[:SHOWN])
    again = "in tests/, PYTHONPATH=..:.:helpers python -m faults.server KIND SEED NUMBER shows one of them"
    assert not failures, f"{len(failures)} failures ({again}):\n{shown}"
