"""A run that is killed again and again ends like one that was left alone."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
options = json.loads(sys.argv.pop())
from recbole_cel.quick_start import run_recbole_cel
last = sorted(Path(options["checkpoint_dir"]).glob("*-last.pth"))
if last:
    options["cel_resume"] = str(last[0])
result = run_recbole_cel("FM_CEL", "tiny", config_dict=options)
print("RESULT", json.dumps(result["test_result"]))
"""


def start(options):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def outcome(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(output.split("RESULT", 1)[1])


@pytest.mark.slow
def test_killed_five_times_and_resumed(options, tmp_path):
    options.update(epochs=150, stopping_step=150, cel_reassign_gain=0.1, cel_max_clusters=8)
    expected = outcome(start({**options, "checkpoint_dir": str(tmp_path / "whole")}))

    folder = tmp_path / "killed"
    options["checkpoint_dir"] = str(folder)
    moments = random.Random(0)
    kills = 0
    while kills < 5:
        process = start(options)
        known = {file: file.stat().st_mtime_ns for file in folder.glob("*-last.pth")}
        # Training has begun when a new state is written; from then on any moment may come.
        while process.poll() is None:
            files = list(folder.glob("*-last.pth"))
            if any(known.get(file) != file.stat().st_mtime_ns for file in files):
                break
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL, "the run ended before it was killed; make it longer"
        kills += 1
    assert outcome(start(options)) == expected
    assert not list(folder.glob("*-last.pth"))[1:], "one run, one file to resume from"
