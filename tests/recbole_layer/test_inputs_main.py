"""Errors become lines in one place; a traceback is a bug of ours."""

import sys

import pytest
import recbole.utils
import torch

import recbole_cel.quick_start
from recbole_cel import __main__ as program
from recbole_cel.config import Config
from recbole_cel.options import SettingError
from recbole_cel.runs.checkpoint import CheckpointError


def fails(monkeypatch, error):
    def run(*args, **options):
        raise error

    monkeypatch.setattr(recbole_cel.quick_start, "run", run)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SettingError("epochs", "must be 3"), 2, "epochs must be 3"),
        (CheckpointError("a.pth: cut off"), 2, "a.pth: cut off"),
        (PermissionError(13, "Permission denied", "saved"), 1, "saved: Permission denied"),
        (NotADirectoryError(20, "Not a directory", "saved"), 1, "saved: Not a directory"),
        (IsADirectoryError(21, "Is a directory", "log"), 1, "log: Is a directory"),
        (FileExistsError(17, "File exists", "log"), 1, "log: File exists"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (OSError(30, "Read-only file system", "saved/x"), 1, "saved/x: Read-only file system"),
        (ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm"), 2, "No module named 'lightgbm'"),
        (MemoryError(), 1, "there is not enough memory"),
        (torch.OutOfMemoryError("CUDA"), 1, "there is not enough memory"),
        (SettingError("x", "a\nb"), 2, "x a b"),
    ],
)
def test_what_is_no_bug_is_one_line(error, code, line, monkeypatch, capsys):
    fails(monkeypatch, error)
    assert program.main([]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"recbole_cel: {line}") and printed.count("\n") == 1


def test_what_recbole_stumbles_over_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(recbole_cel.quick_start, "run", lambda *args, **options: recbole.utils.dict2str(None))
    assert program.main([]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("recbole_cel: RecBole stopped with AttributeError: 'NoneType' object")
    assert "(recbole/utils/utils.py, line " in printed and printed.count("\n") == 1
    monkeypatch.setenv(program.SHOW_TRACEBACK, "1")
    assert program.main([]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_checkout_that_holds_the_libraries_is_not_taken_for_ours(monkeypatch, capsys, tmp_path):
    library = tmp_path / "recbole_cel" / "venv" / "torch.py"
    library.parent.mkdir(parents=True)
    library.write_text("def fail(*args, **options): raise ValueError('x')")
    found = {}
    exec(compile(library.read_text(), library, "exec"), found)
    monkeypatch.setattr(recbole.utils.utils.np.random, "seed", found["fail"])
    monkeypatch.setattr(recbole_cel.quick_start, "run", lambda *args, **options: recbole.utils.init_seed(1, True))
    assert program.main([]) == 1
    assert "RecBole stopped with ValueError: x (recbole/utils/utils.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), AssertionError(), ImportError("x"), TypeError()]
)
def test_a_bug_of_ours_is_a_traceback(error, monkeypatch):
    monkeypatch.setattr(recbole_cel.quick_start, "run", lambda *args, **options: torch.zeros(1) + _raise(error))
    with pytest.raises(type(error)):
        program.main([])


def _raise(error):
    raise error


def test_words_that_are_given_count_and_not_those_of_the_program(monkeypatch, tmp_path):
    found = []

    def run(model, dataset, *args, **options):
        config = Config(model, dataset)
        found.append((config["epochs"], config["learning_rate"]))

    monkeypatch.setattr(recbole_cel.quick_start, "run", run)
    monkeypatch.setattr(sys, "argv", ["x", "--epochs=9"])
    assert program.main(["--model=FM_CEL", "--dataset=ml-100k", "--learning_rate=0.25"]) == 0
    assert found == [(300, 0.25)] and sys.argv == ["x", "--epochs=9"]


def test_flags_reach_the_run(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(recbole_cel.quick_start, "run", lambda *args, **options: calls.append((args, options)))
    (tmp_path / "a b.yaml").write_text("")
    name = str(tmp_path / "a b.yaml")
    assert program.main(["-m", "FM", "--dataset=tiny", "--config_files=a.yaml  b.yaml", "--port=99"]) == 0
    assert program.main([f"--config_files={name}"]) == 0
    usual = {"nproc": 1, "world_size": -1, "ip": "localhost", "port": "5678", "group_offset": 0}
    assert calls == [
        (("FM", "tiny", ["a.yaml", "b.yaml"]), {**usual, "port": "99"}),
        (("DeepFM_CEL", "ml-100k", [name]), usual),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=FM", "--embedding_size=0"], "embedding_size must be an integer from 1"),
        (["--model=MF_CEL", "--LABEL_FIELD=label"], "LABEL_FIELD must be RATING_FIELD"),
        (["--model=FM_CEL", "--cel-levels=3"], "cel-levels is not an option of recbole_cel"),
        (["--model=FM_CEL", "--config_files=none.yaml"], "config_files names none.yaml, which is no file"),
        (["--model=FM", "--metrics=['GAUC']"], "metrics holds GAUC"),
        (["--model=FM", "--local_rank=0", "--nproc=1"], "local_rank is found out by RecBole"),
        (["--model=FM", "--dataset=../x"], "dataset must be the name of a folder"),
        (["--model=FM", "--benchmark_filename=train"], "benchmark_filename must be three ends"),
        (["--model=FM_CEL", "--cel_folds=1000000000"], "cel_folds must be an integer >= 1 and <= 64"),
        (["--model=BPR_CEL"], "BPR is no context-aware recommender"),
    ],
)
def test_runs_that_cannot_be_are_one_line_before_anything_is_written(
    words, message, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", *words])
    assert program.main() == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith(f"recbole_cel: {message}") or message in printed
    assert list(tmp_path.iterdir()) == []
