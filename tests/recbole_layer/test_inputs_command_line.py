"""Every word of a command line means something, or is one line."""

import subprocess
import sys

import pytest

from recbole_cel import __main__ as program
from recbole_cel.config import Config
from recbole_cel.inputs.command_line import FLAGS, read, read_of_any_program
from recbole_cel.options import SettingError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed=1", "--seed=2"], "--seed is given twice"),
        (["--seed=1", "--seed=1"], "--seed is given twice"),
        (["--model=FM", "-m", "DeepFM"], "--model is given twice"),
        (["--nproc=1", "--nproc=1"], "--nproc is given twice"),
        (["--epochs", "1"], "--epochs must be written with an equals sign, --epochs=1"),
        (["--epochs", "=1"], "--epochs must be written with an equals sign, --epochs=1"),
        (["--epochs"], "--epochs has no value"),
        (["--epochs="], "--epochs has no value"),
        (["--epochs=  "], "--epochs has no value"),
        (["--model="], "--model must be the name of a model, got ''"),
        (["--model"], "--model has no value"),
        (["-m"], "-m has no value"),
        (["-m=", "FM"], "--model must be the name of a model, got ''"),
        (["-m", "--epochs=1"], "-m has no value"),
        (["-epochs=1"], "with two dashes and no spaces: --epochs=1"),
        (["---epochs=1"], "with two dashes and no spaces: --epochs=1"),
        (["--epochs =1"], "with two dashes and no spaces: --epochs=1"),
        (["--epochs = 1"], "with two dashes and no spaces: --epochs=1"),
        (["epochs=1"], "with two dashes and no spaces: --epochs=1"),
        (["-model", "FM"], "with two dashes and no spaces: --model"),
        (["-model=FM"], "with two dashes and no spaces: --model=FM"),
        (["FM"], "'FM' is neither a flag nor --key=value"),
        (["--cel_levels=3", "4"], "'4' is neither a flag nor --key=value"),
        (["--"], "'--' is neither"),
        (["--=3"], "'--=3' is neither"),
        (["-e\np=1"], "'-e\\np=1' is neither"),
        (["--e\np=1"], "'--e\\np=1' is neither"),
        (["--1=3"], "'--1=3' is neither"),
        (["--modle=FM"], "did you mean --model"),
        (["--Model=FM"], "did you mean --model"),
        (["--data-set=x"], "did you mean --dataset"),
        (["--config_file=x"], "did you mean --config_files"),
        (["--config-files=x"], "did you mean --config_files"),
        (["--n_proc=2"], "did you mean --nproc"),
        (["--nproc=0"], "--nproc must be an integer from 1 to 4096, got '0'"),
        (["--nproc=-1"], "--nproc must be"),
        (["--nproc=1.5"], "--nproc must be"),
        (["--nproc=two"], "--nproc must be"),
        (["--nproc=99999999999999999999"], "--nproc must be"),
        (["--world_size=0"], "--world_size must be -1 or"),
        (["--world_size=-2"], "--world_size must be -1 or"),
        (["--world_size=1", "--nproc=2"], "--world_size must be at least group_offset"),
        (["--group_offset=5"], "--group_offset needs --world_size"),
        (["--world_size=2", "--group_offset=2"], "--world_size must be at least group_offset"),
        (["--port=0"], "--port must be an integer from 1 to 65535"),
        (["--port=65536"], "--port must be"),
        (["--port=http"], "--port must be"),
        (["--group_offset=-1"], "--group_offset must be"),
        (["--ip=a b"], "--ip must be a host name"),
        (["--ip="], "--ip must be a host name"),
        (["--key=\udcff"], "the command line must be UTF-8"),
    ],
)
def test_what_means_nothing_is_one_line(words, message, capsys):
    with pytest.raises(SettingError) as error:
        read(words)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert program.main(words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("recbole_cel: ") and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "flags", "keys"),
    [
        ([], {}, {}),
        (["--checkpoint_dir=out/k=v"], {}, {"checkpoint_dir": "out/k=v"}),
        (["--cel_resume==a==b="], {}, {"cel_resume": "=a==b="}),
        (["--load_col={'inter': ['a=b']}"], {}, {"load_col": "{'inter': ['a=b']}"}),
        (
            ["--model=FM", "--dataset", "tiny"],
            {"model": "FM", "dataset": "tiny"},
            {"model": "FM", "dataset": "tiny"},
        ),
        (["-m", "FM", "-d=tiny"], {"model": "FM", "dataset": "tiny"}, {"model": "FM", "dataset": "tiny"}),
        (["-mFM_CEL"], {"model": "FM_CEL"}, {"model": "FM_CEL"}),
        (["--nproc", "2", "--port=1234"], {"nproc": 2, "port": "1234"}, {}),
        (["--world_size", "-1"], {"world_size": -1}, {}),
        (["--world_size=3", "--group_offset=2"], {"world_size": 3, "group_offset": 2}, {}),
        (["--gpu_id="], {}, {"gpu_id": ""}),
        (["--field_separator=\t"], {}, {"field_separator": "\t"}),
        (["--config_files=a.yaml b.yaml"], {"config_files": "a.yaml b.yaml"}, {"config_files": "a.yaml b.yaml"}),
        (["--load_col={'inter':\n['a']}"], {}, {"load_col": "{'inter':\n['a']}"}),
        (["--time-aware=True"], {}, {"time-aware": "True"}),
        (["--ip=::1"], {"ip": "::1"}, {}),
    ],
)
def test_what_is_right_is_read(words, flags, keys):
    found = read(words)
    assert found.flags == {name: flag.default for name, flag in FLAGS.items()} | flags
    assert found.keys == keys


def test_words_of_other_programs_are_passed_over_as_in_recbole(monkeypatch, caplog):
    words = ["tests", "-k", "x", "--epochs", "3", "--seed=7", "--model", "FM", "-m", "slow", "--cov"]
    found = read_of_any_program(words)
    assert found.keys == {"seed": "7"}
    assert found.passed_over == ["tests", "-k", "x", "--epochs", "3", "--cov"]
    monkeypatch.setattr(sys, "argv", ["x", *words])
    assert Config("FM_CEL", "ml-100k")["seed"] == 7
    assert "not used of the command line: tests -k x" in caplog.text
    with pytest.raises(SettingError, match="--seed is given twice"):
        read_of_any_program(["--seed=1", "--seed=2"])


def test_values_may_hold_equals_signs(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x", f"--checkpoint_dir={tmp_path}/k=v"])
    assert Config("FM_CEL", "ml-100k")["checkpoint_dir"] == f"{tmp_path}/k=v"


@pytest.mark.parametrize("argv", [[], [""], ["ipykernel_launcher", "-f", "--seed=3"]])
def test_there_may_be_no_command_line(argv, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert Config("FM", "ml-100k")["seed"] == 2020


def test_help_names_every_flag(capsys):
    assert program.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"--{name}" in printed for name in FLAGS)


def test_the_program_ends_with_one_line_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "recbole_cel", "--epochs", "1"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "recbole_cel: --epochs must be written with an equals sign, --epochs=1\n"
