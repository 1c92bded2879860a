"""Files and folders of a data set that are missing, or are something else."""

import os

import pytest
from atomic_data import HEADER, ROWS, check_one_line, interactions, with_value, write_files

LINES = interactions().split("\n")


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])


BENCHMARK = {"inter": None, "a_inter": interactions(ROWS[:80]), "b_inter": interactions(ROWS[80:100])}
BENCHMARK["c_inter"] = interactions(ROWS[100:])
PARTS = {
    "missing": ({"b_inter": None}, ["a", "b", "c"], ["small.b.inter"]),
    "empty": ({"b_inter": ""}, ["a", "b", "c"], ["small.b.inter", "empty"]),
    "no rows": ({"c_inter": HEADER + "\n"}, ["a", "b", "c"], ["small.c.inter", "no rows"]),
    "one row": ({"c_inter": interactions(ROWS[:1])}, ["a", "b", "c"], ["one row for test"]),
    "other columns": (
        {"b_inter": "\n".join(line.rsplit("\t", 1)[0] for line in LINES)},
        ["a", "b", "c"],
        ["timestamp", "load_col"],
    ),
    "hole": ({"b_inter": with_value(4, 0, "")}, ["a", "b", "c"], ["small.b.inter, line 4, column user_id"]),
    "text": ({}, "a", ["benchmark_filename", "three"]),
    "one": ({}, ["a"], ["benchmark_filename", "three"]),
    "four": ({}, ["a", "b", "c", "d"], ["benchmark_filename", "three"]),
    "numbers": ({}, [1, 2, 3], ["benchmark_filename", "three"]),
    "elsewhere": ({}, ["../a", "b", "c"], ["no "]),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_that_are_files(case, tmp_path):
    files, parts, words = PARTS[case]
    write_files(tmp_path, **{**BENCHMARK, **files})
    check_one_line(words, tmp_path, benchmark_filename=parts)


PATHS = {
    "a file": lambda folder: (folder / "small").write_text("x"),
    "a link to nothing": lambda folder: os.symlink(folder / "none", folder / "small"),
    "a link to itself": lambda folder: os.symlink(folder / "small", folder / "small"),
    "an empty folder": lambda folder: (folder / "small").mkdir(),
    "nothing": lambda folder: None,
    "interactions a folder": lambda folder: (folder / "small" / "small.inter").mkdir(parents=True),
    "interactions a link to nothing": lambda folder: os.symlink(
        "none", write_files(folder, inter=None) / "small/small.inter"
    ),
    "interactions a pipe": lambda folder: os.mkfifo(write_files(folder, inter=None) / "small/small.inter"),
    "users a pipe": lambda folder: os.mkfifo(write_files(folder, user=None) / "small/small.user"),
    "users a folder": lambda folder: (write_files(folder, user=None) / "small/small.user").mkdir(),
}


@pytest.mark.parametrize("case", PATHS)
def test_what_is_no_folder_or_file(case, tmp_path):
    PATHS[case](tmp_path)
    check_one_line(["small"], tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../small", "no-such", "a\0b"])
def test_what_is_no_data_set(name, tmp_path):
    check_one_line(["dataset"], write_files(tmp_path), name=name)
