"""The command: it makes tables, keeps what was finished, and what fails is a line and no crash."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_table import TABLE, Here, write_table

from recbole_cel.tables import command, progress
from recbole_cel.tables import job as jobs


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the tiny table, whose jobs run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "Pool", Here)
    monkeypatch.setattr(Here, "ran", [])
    write_table(tmp_path)
    return tmp_path


def run(*words, code=0):
    assert command.main([*words, "--data_path", "."]) == code


def test_a_table_in_all_its_forms(here, capsys):
    run("tiny.yaml")
    shown = capsys.readouterr()
    # Two trials and another seed for both rows; the budget is found out by one trial.
    assert len(Here.ran) == 2 * 3 + 1
    assert {path.name for path in (here / "results").iterdir()} >= {
        *("tiny.csv", "tiny.md", "tiny.tex", "tiny-tiny.png", "tiny-tiny.svg", "cache")
    }
    assert "left out: dataset nowhere has no protocol label" in shown.err
    assert "tiny: too small on tiny, seed 1: embedding_budget leaves" in shown.err
    assert "1 of 3 rows stay empty" in shown.out and "| CEL |" in shown.out
    text = (here / "results" / "tiny.md").read_text()
    assert "embedding_budget leaves" in text and "Made by: `python run_tables.py tiny.yaml" in text
    # The same again runs nothing, and gives the same.
    run("tiny.yaml")
    assert len(Here.ran) == 7 and (here / "results" / "tiny.md").read_text() == text
    # Nor does a quick run put itself in the place of the table.
    run("tiny.yaml", "--quick")
    assert len(Here.ran) == 7 + 3 and "quick run" in (here / "results" / "quick" / "tiny.md").read_text()
    assert (here / "results" / "tiny.md").read_text() == text
    # Cells are run again, and come out as they were.
    run("tiny.yaml", "--check", "3")
    assert len(Here.ran) == 10 + 4 and capsys.readouterr().out.count(": as it was") == 2
    kept = (here / "results" / "tiny.csv").read_text()
    (here / "results" / "tiny.csv").write_text(kept.replace('"{""learning_rate"": 0.', '"{""learning_rate"": 0.9'))
    run("tiny.yaml", "--check", "1", code=1)


def test_only_what_was_chosen_is_tested_in_sight(here):
    run("tiny.yaml", "--seeds", "5")
    of_full = [job for job in Here.ran if job.model == "FM_Full"]
    results = {job.options["learning_rate"]: jobs.run(job) for job in of_full}
    rates = sorted(results, key=lambda rate: results[rate]["valid"]["auc"])
    text = (here / "results" / "tiny.csv").read_text()
    assert f"{results[rates[1]]['test']['auc']:.6g}" in text
    assert f"{results[rates[0]]['test']['auc']:.6g}" not in text


def test_a_job_that_fails_is_a_line_and_is_tried_again(here, monkeypatch, capsys):
    class Failing(Here):
        def next(self):
            done = super().next()
            return done._replace(result={"error": "it broke"}) if "CEL" in done.job.model else done

    monkeypatch.setattr(progress, "Pool", Failing)
    run("tiny.yaml", "--quick")
    assert "tiny: CEL on tiny, seed 1: it broke" in capsys.readouterr().err
    assert "it broke: CEL" in (here / "results" / "quick" / "tiny.md").read_text()
    monkeypatch.setattr(progress, "Pool", Here)
    Here.ran.clear()
    run("tiny.yaml", "--quick")
    assert [job.model for job in Here.ran] == ["FM_CEL"]


def test_lists_and_plans_run_nothing(here, capsys):
    run("tiny.yaml", "--list")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["tiny", "Tiny", "tiny", "3", "9", "0"]
    run("tiny.yaml", "--dry-run")
    assert "2 trials, 2 seeds" in capsys.readouterr().out and not Here.ran
    assert not (here / "results").exists()


def test_some_rows_only(here):
    run("tiny.yaml", "--rows", "f*", "*small")
    assert {job.model for job in Here.ran} == {"FM_Full", "FM_ModuloHash"}
    text = (here / "results" / "tiny.md").read_text()
    assert "--rows 'f*' '*small'" in text and "CEL" not in text.replace("recbole_cel", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "which table?"),
        (("colds",), "did you mean cold?"),
        (("tiny.yaml", "--jobs", "0"), "--jobs must be an integer >= 1"),
        (("tiny.yaml", "--seeds", "1", "1"), "--seeds must be different"),
        (("tiny.yaml", "--fast"), "--fast"),
        (("tiny.yaml", "--rows", "full", "FM*"), "--rows holds 'FM*', like none of tiny: full, CEL, too small"),
        (("tiny.yaml", "--datasets", "nowhere"), "--data_path must name a folder with one of nowhere"),
        (("tiny.yaml", "--check", "1"), "--check needs results/tiny.csv"),
        (("tiny.yaml", "--output", "tiny.yaml"), "--output must be a folder"),
    ],
)
def test_bad_words_are_one_line(here, capsys, words, expected):
    run(*words, code=2)
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" not in line]
    assert len(lines) == 1 and expected in lines[0] and not Here.ran


def test_without_matplotlib_a_line_says_what_to_install(here, monkeypatch, capsys):
    monkeypatch.setattr("recbole_cel.tables.picture.can_draw", lambda: False)
    run("tiny.yaml", "--quick")
    assert "python -m pip install 'recbole-cel[plot]'" in capsys.readouterr().err


def children(process):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_was_finished_before_a_kill_is_not_repeated(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path, TABLE.replace("seeds: [1, 2]", "seeds: [1, 2, 3, 4, 5, 6, 7, 8]"))
    words = ["tiny.yaml", "--data_path", ".", "--jobs", "1"]
    read, write = os.pipe()
    process = os.fork()
    if not process:  # as in a process of its own, without the seconds that imports take
        sys.stdout = sys.stderr = os.fdopen(write, "w", buffering=1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os._exit(command.main(words))
        except SystemExit as error:
            os._exit(int(error.code or 0))
        finally:
            os._exit(99)
    os.close(write)
    cache = tmp_path / "results" / "cache"
    wait_for(lambda: cache.is_dir() and len(list(cache.glob("*.json"))) >= 3)
    workers = children(process)
    os.kill(process, number)
    _, status = os.waitpid(process, 0)
    said = os.fdopen(read, errors="replace").read()
    wait_for(lambda: not any(map(alive, workers)), 10)
    assert workers and os.waitstatus_to_exitcode(status) == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert "stopped by Ctrl-C; jobs that were finished are kept" in said and "Traceback" not in said
    kept = len(list(cache.glob("*.json")))
    monkeypatch.setattr(progress, "Pool", Here)
    monkeypatch.setattr(Here, "ran", [])
    assert command.main(words) == 0
    assert len(Here.ran) == 2 * (2 + 7) + 1 - kept
