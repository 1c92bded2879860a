"""The words of the command, what it says, and that a data set is written whole or not at all."""

import errno
import os
import shlex
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from raw_data import RATINGS_1M, SETS, convert, refused, write_set

import recbole_cel.__main__ as program
from recbole_cel.convert import conversion, summary, writing
from recbole_cel.convert.counting import Distinct, hashes
from recbole_cel.inputs import command_line


def test_the_table_and_the_next_command(tmp_path, capsys):
    source = write_set(tmp_path / "raw", "ml-1m", ratings_dat=[*RATINGS_1M, "1::11::4::978300761", RATINGS_1M[0]])
    assert convert("ml-1m", source, "--output", tmp_path / "a b") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    said = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in printed.out.splitlines() if "  " in line}
    assert said["users"] == "3" and said["items"] == "3" and said["interactions"] == "6"
    assert said["ratings"] == "1 to 5" and said["time"] == "2000-12-31 to 2000-12-31"
    assert said["repeated pairs"] == "2" and said[".user"].startswith("3 rows: user_id, age")
    words = shlex.split(printed.out.splitlines()[-1])
    assert words[:3] == ["python", "-m", "recbole_cel"]
    keys = command_line.read(words[3:]).keys
    assert keys["dataset"] == "ml-1m" and keys["data_path"] == str(tmp_path / "a b")
    assert "'item':['item_id','release_year','genre']" in keys["load_col"]


def test_the_next_command_runs(tmp_path, capsys, monkeypatch):
    from recbole_cel.config import Config
    from recbole_cel.inputs.prepare import prepare_data

    lines = [f"{n % 12}::{n * 7 % 17}::{1 + (n * 5 + n // 7) % 5}::{978300760 + n}" for n in range(120)]
    users = [f"{n}::F::{18 + n}::10::48067" for n in range(12)]
    movies = [f"{n}::Story {n} ({1990 + n})::Drama|Comedy" for n in range(17)]
    source = write_set(tmp_path / "raw", "ml-1m", ratings_dat=lines, users_dat=users, movies_dat=movies)
    assert convert("ml-1m", source, "--output", tmp_path / "out") == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])[3:]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", *words])
    config = Config("DeepFM_CEL", "ml-1m", None, None)
    dataset, *_ = prepare_data(config)
    assert dataset.field2type["genre"].value == "token_seq" and len(dataset) == 120


def test_features_that_would_drop_interactions_are_not_proposed(tmp_path, capsys):
    source = write_set(tmp_path / "raw", "ml-1m", users_dat=["1::F::1::10::48067"])
    assert convert("ml-1m", source, "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "2 interactions are of users that .user lacks; with it, RecBole drops them" in printed
    assert "'user':" not in printed and "'item':" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ml1m", "raw"], "FORMAT must be one of ml-100k, ml-1m, "),
        (["ml1m", "raw"], "got 'ml1m'; did you mean ml-1m?"),
        (["ml-1m"], "the command line cannot be read: the following arguments are required: SOURCE"),
        (["ml-1m", "raw", "x"], "the command line cannot be read: unrecognized arguments: x"),
        (["ml-1m", "raw", "--over"], "unrecognized arguments: --over"),
        (["ml-1m", "none"], "SOURCE is none, but there is no such file or folder"),
        (
            ["ml-20m", "raw"],
            "SOURCE is raw, in which there is no ratings.csv; there is movies.dat, ratings.dat, users.dat",
        ),
        (["ml-1m", "raw", "--name=../x"], "--name must be letters, digits"),
        (["ml-1m", "raw", "--name=a", "--name=b"], "--name is given twice"),
        (["amazon-2018-reviews", "raw", "--items=none"], "--items is none, but there is no such file"),
    ],
)
def test_words_that_cannot_be(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "raw", "ml-1m")
    assert said in refused(words, capsys, tmp_path)


def test_several_files_that_could_be_meant(tmp_path, capsys):
    raw = write_set(tmp_path / "raw", "amazon-2018-reviews")
    (raw / "Other_5.json.gz").write_bytes(b"")
    printed = refused(["amazon-2018-reviews", raw], capsys, tmp_path)
    assert "could be meant; give the one that is meant as SOURCE" in printed
    assert (
        convert(
            "amazon-2018-reviews", raw / "Toys_5.json", "--items", raw / "meta_Toys.json", "--output", tmp_path
        )
        == 0
    )
    assert {path.name for path in (tmp_path / "Toys_5").iterdir()} == {"Toys_5.inter", "Toys_5.item"}


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path, capsys):
    raw = write_set(tmp_path / "raw", "ml-1m")
    there = tmp_path / "out" / "ml-1m"
    assert convert("ml-1m", raw, "--output", tmp_path / "out") == 0
    before = {path.name: path.read_bytes() for path in there.iterdir()}
    (raw / "ratings.dat").write_text("9::9::1::978300760\n")
    assert convert("ml-1m", raw, "--output", tmp_path / "out") == 2
    assert "ml-1m.inter already; give another --name, or --overwrite" in capsys.readouterr().err
    (raw / "ratings.dat").write_text("9::9::9::978300760\n")
    assert convert("ml-1m", raw, "--output", tmp_path / "out", "--overwrite") == 2
    assert {path.name: path.read_bytes() for path in there.iterdir()} == before
    # Features of what was there before go with it.
    (raw / "ratings.dat").write_text("9::9::1::978300760\n")
    assert convert("ml-1m", raw / "ratings.dat", "--output", tmp_path / "out", "--overwrite") == 0
    assert [path.name for path in there.iterdir()] == ["ml-1m.inter"]
    assert there.joinpath("ml-1m.inter").read_text().endswith("\n9\t9\t1\t978300760\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ml-1m"]


def test_a_full_disk_leaves_nothing(tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.AtomicFile, "write", full)
    raw = write_set(tmp_path / "raw", "ml-1m")
    assert convert("ml-1m", raw, "--output", tmp_path / "out" / "deep") == 1
    assert capsys.readouterr().err == "recbole_cel: No space left on device\n" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(number, code, tmp_path, capsys, monkeypatch, request):
    # A shell that starts the tests in its background has them ignore Ctrl-C.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(conversion.Summary, "add", lambda *_: os.kill(os.getpid(), number))
    raw = write_set(tmp_path / "raw", "ml-1m")
    assert convert("ml-1m", raw, "--output", tmp_path / "out") == code
    assert "recbole_cel: stopped; no incomplete data set is left" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_one(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    raw = write_set(tmp_path / "raw", "ml-1m")
    assert convert("ml-1m", raw, "--output", tmp_path / "out") == 2
    assert "--output must be a folder that can be written" in capsys.readouterr().err


def test_both_commands_are_one(tmp_path, capsys):
    raw = write_set(tmp_path / "raw", "ml-100k")
    assert program.main(["convert", "ml-100k", str(raw), f"--output={tmp_path}"]) == 0
    words = [sys.executable, "-m", "recbole_cel.convert", "ml-100k", raw, "--output", tmp_path]
    done = subprocess.run([*words, "--name=again"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.replace("again", "ml-100k") == capsys.readouterr().out
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_help_names_all_formats(capsys):
    with pytest.raises(SystemExit) as stop:
        convert("--help")
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and all(f"\n  {format} " in printed for format in SETS)


def test_distinct_values_are_counted_as_a_set_counts_them():
    draws = np.random.default_rng(0)
    found, seen = Distinct(100_000), set()
    for _ in range(40):
        values = draws.integers(0, 3000, draws.integers(1, 200))
        new = []
        for value in values.tolist():
            new.append(value not in seen)
            seen.add(value)
        assert found.add(values).tolist() == new
        assert found.count == len(seen)


def test_more_than_can_be_counted_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "MOST_PAIRS", 3)
    monkeypatch.setattr(summary, "MOST_IDS", 2)
    known = Distinct(9)
    known.add(hashes(["a", "c"], 2))
    found = summary.Summary({"user": known})
    found.add([["a", "b", "c", "a"], ["x", "x", "y", "y"], ["1", "1.0", "2", "3"], ["1", "2", "3", "4"]])
    said = dict(found.lines())
    assert (
        said["users"] == "over 2"
        and said["items"] == "2"
        and said["repeated pairs"] == "not counted, over 3 pairs"
    )
    assert found.unknown == {"user": 1}
    assert len(set(hashes(["a", "b"], 2).tolist())) == 2
