"""Jobs: what their results are kept under, and that it does not matter what ran before."""

import datetime
import errno
import logging
import pickle
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_table import write_table

from recbole_cel.options import SettingError
from recbole_cel.tables import code
from recbole_cel.tables import job as jobs
from recbole_cel.tables.cache import Cache
from recbole_cel.tables.data_sets import find
from recbole_cel.tables.plan import cells
from recbole_cel.tables.pool import Pool
from recbole_cel.tables.spec import read_table


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The first jobs of the tiny table, by label."""
    monkeypatch.chdir(tmp_path)
    table = read_table(str(write_table(tmp_path)))
    data = find("tiny", "label", table.folder, str(tmp_path))
    return {cell.row.label: cell.trials[0][1] for cell in cells(table, {"tiny": data})}


def numbers(result):
    return {name: result[name] for name in ("valid", "test", "cold", "clusters", "epochs", "size")}


def test_a_job_gives_the_same_after_another_job_and_in_a_process_of_its_own(made, tmp_path):
    full, clustered = made["full"], made["CEL"]
    jobs.run(full)
    here = jobs.run(clustered)
    broken = replace(full, options={**full.options, "learning_rate": "fast"})
    with Pool(1) as pool:
        for key, job in (("clustered", clustered), ("broken", broken), ("full", full), ("again", clustered)):
            pool.submit(key, job)
        found = {(done := pool.next()).key: done.result for _ in range(4)}
        (worker,) = pool._workers
        process = worker._process
    assert numbers(found["clustered"]) == numbers(here) == numbers(found["again"])
    assert "learning_rate must be a number" in found["broken"]["error"] and found["broken"]["kept"]
    assert set(here["cold"]) == {"user < 20", "user >= 20", "item < 20", "item >= 20"}
    assert process.returncode is not None
    # Nothing is left where it stands: no log files, no checkpoints.
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", "tiny.yaml", "data"}


def test_a_process_that_dies_is_an_error_of_its_job_and_another_takes_over(made, monkeypatch):
    dies = "import sys; sys.stdin.readline(); sys.exit('no more memory in this world')"
    start = subprocess.Popen

    def started(words, **options):
        return start([sys.executable, "-c", dies], **options)

    monkeypatch.setattr("recbole_cel.tables.pool.subprocess.Popen", started)
    with Pool(1) as pool:
        for key in ("one", "two"):
            pool.submit(key, made["full"])
        found = [pool.next() for _ in range(2)]
    assert {done.key for done in found} == {"one", "two"}
    for done in found:
        assert done.result["error"] == "its process ended with status 1: no more memory in this world"


def test_a_process_that_cannot_be_started_is_an_error_of_its_job(made, monkeypatch, tmp_path):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("recbole_cel.tables.pool.subprocess.Popen", full)
    monkeypatch.setattr("recbole_cel.tables.pool.tempfile.tempdir", str(tmp_path))
    with Pool(1) as pool:
        for key in ("one", "two"):
            pool.submit(key, made["full"])
        found = [pool.next() for _ in range(2)]
    assert [done.key for done in found] == ["one", "two"]
    assert all("cannot be run: OSError: [Errno 28] No space left" in done.result["error"] for done in found)
    assert not list(tmp_path.glob("recbole_cel-*"))


def test_options_that_cannot_be_sent_are_an_error_of_their_job(made):
    with Pool(1) as pool:
        pool.submit("date", replace(made["full"], options={"learning_rate": datetime.date(2020, 1, 1)}))
        assert "it cannot be run: TypeError" in pool.next().result["error"]


class Planted:
    """A pickle of it writes a file when it is read."""

    def __reduce__(self):
        return Path.write_text, (Path("ran"), "")


@pytest.mark.parametrize("key", ["dataset_save_path", "dataloaders_save_path"])
def test_a_pickle_that_a_table_names_is_not_read(made, tmp_path, key):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(SettingError, match=f"{key}: .*pickles of RecBole are not read"):
        jobs.run(replace(made["full"], options={**made["full"].options, key: str(tmp_path / "evil.pth")}))
    assert not list(tmp_path.rglob("ran"))


def test_nothing_of_a_job_is_left_open(made):
    threads, handlers = threading.active_count(), list(logging.getLogger().handlers)
    with pytest.raises(SettingError):
        jobs.run(replace(made["full"], options={**made["full"].options, "learning_rate": "fast"}))
    for _ in range(2):
        jobs.run(made["full"])
    assert threading.active_count() == threads
    assert not [one for one in logging.getLogger().handlers if isinstance(one, logging.FileHandler)]
    assert handlers == [one for one in logging.getLogger().handlers if one in handlers]


def test_a_key_is_of_options_seed_code_and_data(made, monkeypatch, tmp_path):
    job = made["full"]
    key = job.key()
    assert key == replace(job).key()
    assert key != replace(job, seed=9).key()
    assert key != replace(job, threads=2).key()
    assert key != replace(job, options={**job.options, "epochs": 9}).key()
    monkeypatch.setattr(code, "digest", lambda strategy: "other code")
    assert key != replace(job).key()
    monkeypatch.undo()
    file = tmp_path / "tiny" / "tiny.inter"
    file.write_text(file.read_text() + "u0\ti39\t5\n")
    jobs.data_digest.cache_clear()
    assert key != replace(job).key()


def test_the_code_of_a_run_leaves_out_what_cannot_change_it():
    full, clustered = code.modules("full"), code.modules("cel")
    assert {"trainer.trainer", "embedding.full", "tables.measure", "model.builder"} <= full
    assert {"strategies.cel", "clustering.optimiser", "evidence.whitening"} <= clustered - full
    assert not {module for module in clustered if module.startswith(("tables.render", "tables.picture"))}
    assert "strategies.modulo_hash" not in clustered


def test_the_code_of_a_run_has_that_of_a_strategy_that_is_not_ours(monkeypatch, tmp_path):
    file = tmp_path / "plugged_in.py"
    digests = []
    for text in ("ROWS = 1\n", "ROWS = 2\n"):
        file.write_text(text)
        module = types.ModuleType("plugged_in")
        module.__file__ = str(file)
        kind = type("Plugged", (), {"__module__": "plugged_in"})
        monkeypatch.setitem(sys.modules, "plugged_in", module)
        monkeypatch.setattr(code, "strategies", lambda kind=kind: {"plugged_in": kind})
        code.digest.cache_clear()
        digests.append(code.digest("plugged_in"))
    code.digest.cache_clear()
    assert len(set(digests)) == 2


def test_a_result_is_kept_whole_or_is_none(made, tmp_path):
    cache = Cache(tmp_path / "cache")
    result = jobs.run(made["full"])
    cache.put("key", made["full"], result)
    assert cache.get("key") == result
    assert cache.get("other") is None
    for text in ("", "[]", '{"result": {"valid": {}}}', '{"result": 1}', cache.path("key").read_text()[:-40]):
        cache.path("key").write_text(text)
        assert cache.get("key") is None


def test_a_solver_that_is_not_there_says_what_to_install(made, tmp_path, monkeypatch):
    job = replace(made["full"], model="als", solver=True, strategy=None)
    monkeypatch.setattr("recbole_cel.tables.solvers.importlib.util.find_spec", lambda name: None)
    job = replace(job, options={"task": "rating", "load_col": job.options["load_col"], "threshold": None})
    # Nor is that kept like a result: when it has been installed, the same command goes on.
    with pytest.raises(ModuleNotFoundError, match=r"cmfrec is not installed; python -m pip install"):
        jobs.run(job)
    found = jobs.run(replace(job, model="biases"))
    assert 0 < found["test"]["mse"] == pytest.approx(found["test"]["rmse"] ** 2)
    assert Path.cwd() == tmp_path
