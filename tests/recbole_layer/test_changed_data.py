"""A run goes on with the very data that it began with: training, validation and test."""

import pytest
from tiny_data import write_tiny

from recbole_cel.config import Config
from recbole_cel.inputs.prepare import prepare_data
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel
from recbole_cel.runs.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    write_tiny(folder / "data")
    options = {
        **{"data_path": str(folder / "data"), "threshold": {"rating": 3}, "epochs": 1, "train_batch_size": 512},
        "load_col": {"inter": ["user_id", "item_id", "rating"], "user": ["user_id", "age"]},
        **{"show_progress": False, "state": "ERROR", "cel_max_clusters": 4, "cel_levels": 1},
        "checkpoint_dir": str(folder / "saved"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        run_recbole_cel("FM_CEL", "tiny", config_dict=dict(options))
        data, *parts = prepare_data(Config("FM_CEL", "tiny", config_dict=dict(options), command_line=False))
    pairs = [
        list(zip(*(part._dataset.inter_feat[name].tolist() for name in ("user_id", "item_id")))) for part in parts
    ]
    tokens = data.field2id_token
    named = [[(tokens["user_id"][user], tokens["item_id"][item]) for user, item in part] for part in pairs]
    (last,) = (folder / "saved").glob("*-last.pth")
    return folder, options, last, dict(zip(("training", "validation", "test"), named))


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_one_changed_label_is_noticed(begun, part, row, tmp_path, monkeypatch):
    folder, options, last, pairs = begun
    user, item = pairs[part][row * len(pairs[part]) // 4]
    text = (folder / "data" / "tiny" / "tiny.inter").read_text()
    changed = []
    for line in text.splitlines():
        if line.startswith(f"{user}\t{item}\t"):
            line = f"{user}\t{item}\t{1 if int(line.split()[2]) >= 3 else 5}"
        changed.append(line)
    check_refused(last, options, folder, {"tiny.inter": "\n".join(changed) + "\n"}, tmp_path, monkeypatch)


CHANGES = {
    "a row less": ("tiny.inter", lambda lines: lines[:-1]),
    "a row more": ("tiny.inter", lambda lines: [*lines, "u0\ti39\t5"]),
    "rows in another order": ("tiny.inter", lambda lines: [lines[0], *lines[:0:-1]]),
    "another feature": ("tiny.user", lambda lines: [*lines[:-1], f"{lines[-1].split()[0]}\t9"]),
    "another name": ("tiny.inter", lambda lines: [line.replace("u7\t", "u77\t") for line in lines]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_noticed(begun, change, tmp_path, monkeypatch):
    folder, options, last, _ = begun
    name, edit = CHANGES[change]
    lines = edit((folder / "data" / "tiny" / name).read_text().splitlines())
    check_refused(last, options, folder, {name: "\n".join(lines) + "\n"}, tmp_path, monkeypatch)


def check_refused(last, options, folder, files, tmp_path, monkeypatch):
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    for file in (folder / "data" / "tiny").iterdir():
        (tmp_path / "data" / "tiny" / file.name).write_text(files.get(file.name, file.read_text()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    own = {"data_path": str(tmp_path / "data")}
    resumed = {**options, **own, "epochs": 2, "cel_resume": str(last)}
    before = last.read_bytes()
    for use in (
        lambda: run_recbole_cel("FM_CEL", "tiny", config_dict=resumed),
        lambda: load_data_and_model(str(last), own),
    ):
        with pytest.raises(CheckpointError, match="it was trained on other data") as error:
            use()
        assert "\n" not in str(error.value)
    assert last.read_bytes() == before
    load_data_and_model(str(last), {"data_path": options["data_path"]})  # the file itself is fine
