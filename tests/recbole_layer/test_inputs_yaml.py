"""Config files that grow, hold themselves or say nothing sensible are one line, and at once."""

import time

import pytest

from recbole_cel.config import Config
from recbole_cel.inputs import yaml_files
from recbole_cel.options import SettingError

NAMES = "abcdefghijkl"
LAUGHS = "".join(
    f"{name}: &{name} [{','.join([f'*{before}' if before else 'x'] * 9)}]\n"
    for before, name in zip(["", *NAMES], NAMES)
)
MERGED_LAUGHS = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}]}}\n" for before, name in zip(NAMES, NAMES[1:])
)
MAPPED_LAUGHS = "".join(
    f"{name}: &{name} {{{', '.join(f'k{i}: ' + (f'*{before}' if before else 'x') for i in range(9))}}}\n"
    for before, name in zip(["", *NAMES], NAMES)
)
BAD = {
    # what grows
    "laughs": (LAUGHS, "line 5, column 4: more than 20000 values"),
    "laughs that are merged": (MERGED_LAUGHS, "line 5, column 12: more than 20000 values"),
    "laughs of mappings": (MAPPED_LAUGHS, "more than 20000 values"),
    "laughs in one line": ("a: [&a [x,x,x,x,x,x,x,x,x,x]" + "".join(
        f", &{name} [{','.join([f'*{before}'] * 10)}]" for before, name in zip(NAMES, NAMES[1:])) + "]",
        "more than 20000 values"),
    "many values": ("a: [" + "x," * 60_000 + "]", "more than 20000 values"),
    "many keys": ("".join(f"key{i}: 1\n" for i in range(11_000)), "more than 20000 values"),
    "many bytes": ("a: " + "x" * 200_000, "which has more than 131072 bytes"),
    "deep lists": ("a: " + "[" * 5000, "line 1, column 23: nested more than 20 deep"),
    "deep mappings": ("a: " + "{a: " * 5000, "nested more than 20 deep"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(300)), "nested more than 20 deep"),
    "deep dashes": ("- " * 5000, "nested more than 20 deep"),
    # what holds itself
    "a list in itself": ("a: &a [*a]", "line 1, column 4: it holds itself"),
    "a mapping in itself": ("a: &a {b: *a}", "it holds itself"),
    "a list in its mapping": ("a: &a {b: [1, {c: *a}]}", "it holds itself"),
    "a document in itself": ("&top\na: 1\nb: *top", "it holds itself"),
    # keys
    "an integer as key": ("epochs: 3\n1: 2", "line 2, column 1: the name of an option must be a word, got '1'"),
    "a float as key": ("1.5: 2", "must be a word, got '1.5'"),
    "a bool as key": ("on: 2", "must be a word, got 'on'"),
    "nothing as key": ("~: 2", "must be a word, got '~'"),
    "a date as key": ("2020-01-01: 2", "must be a word"),
    "a list as key": ("? [a]\n: 2", "must be a word, got a list or mapping"),
    "a list as inner key": ("a: {[b]: 2}", "a key must be a word"),
    "a blank as key": ("' ': 2", "config_files must have names of options as keys"),
    "twice": ("epochs: 1\nseed: 2\nepochs: 1\n", "line 3, column 1: key 'epochs' is given twice, first in line 1"),
    "twice in a mapping": ("load_col: {inter: [a], inter: [b]}", "line 1, column 24: key 'inter' is given twice"),
    "twice in a list": ("a:\n- {b: 1,\n   b: 2}", "line 3, column 4: key 'b' is given twice, first in line 2"),
    "twice in other quotes": ("epochs: 1\n'epochs': 2", "line 2, column 1: key 'epochs' is given twice"),
    # what is no YAML, or no plain YAML
    "half a character": ('a: "\\ud800"', "line 1, column 4: '\\ud800' holds half of a pair of UTF-16"),
    "unfinished": ("a: [1", "line 1, column 6: expected"),
    "tabs": ("a:\n\tb: 1", "line 2, column 1: found character"),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document in the stream but found"),
    "an alias of nothing": ("a: *b", "line 1, column 4: found undefined alias 'b'"),
    "a call": ("a: !!python/object/apply:os.system ['touch x']", "line 1, column 4: could not determine"),
    "an object": ("a: !!python/object/new:os.system ['touch x']", "could not determine"),
    "a name": ("a: !!python/name:os.system", "could not determine"),
    "a module": ("a: !!python/module:antigravity", "could not determine"),
    "a tag behind a handle": ("%TAG ! !!python/\n---\na: !name:os.system", "could not determine"),
    "no date": ("a: 2020-13-45", "line 1, column 4: '2020-13-45' is no timestamp"),
    "no float": ("a: !!float ''", "is no float"),
    "no bool": ("a: !!bool x", "is no bool"),
    "digits": ("a: " + "9" * 5000, "is no int"),
    "a list": ("- a", "which holds no YAML keys but a list"),
    "a text": ("epochs", "which holds no YAML keys but a str"),
    "nothing": ("", "which holds no YAML keys but nothing"),
    "another encoding": ("# é\nname: né".encode("latin-1"), "line 1, byte 3: 0xe9 is no UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "line 1, byte 1: 0xff is no UTF-8"),
    "a zero": (b"a: 1\nb: \0", "line 2: character 0 is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line_at_once(name, tmp_path):
    content, message = BAD[name]
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    start = time.process_time()
    with pytest.raises(SettingError) as error:
        Config("FM_CEL", "ml-100k", [str(file)], command_line=False)
    assert time.process_time() - start < 1
    assert message in str(error.value) and str(error.value).startswith("config_files ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_what_is_no_file_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked.yaml").write_text("epochs: 1")

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    for files, message in (
        (["none.yaml"], "names none.yaml, which is no file"),
        ([str(tmp_path / "folder")], "folder, which is no file but a folder"),
        (["/dev/null"], "/dev/null, which is no file"),
        (["/dev/zero"], "/dev/zero, which is no file"),
        (["a\0b"], "which is no file"),
        ([""], "names"),
        ("a.yaml", "must be a list of names of files, got 'a.yaml'"),
    ):
        with pytest.raises(SettingError, match=f"config_files .*{message}"):
            Config("FM_CEL", "ml-100k", files, command_line=False)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(SettingError, match=r"locked.yaml, which cannot be read: Permission denied"):
        yaml_files.read(tmp_path / "locked.yaml")


def test_good_files_are_read_as_recbole_reads_them(tmp_path):
    file = tmp_path / "good.yaml"
    file.write_bytes(
        "\ufefflearning_rate: 1e-4\nweight_decay: .5\nnote: &n [naïve, 'on']\nagain: *n\n"
        "base: &b {x: 1, y: 2}\nmerged: {<<: *b, x: 3}\nfields: {1: [a]}\nnothing: ~\n".encode()
    )
    assert yaml_files.read(file) == {
        "learning_rate": 1e-4,
        "weight_decay": 0.5,
        "note": ["naïve", "on"],
        "again": ["naïve", "on"],
        "base": {"x": 1, "y": 2},
        "merged": {"x": 3, "y": 2},
        "fields": {1: ["a"]},
        "nothing": None,
    }
    file.write_text("# epochs: 3\n")
    assert yaml_files.read(file) == {}


def test_the_later_of_two_files_wins(tmp_path):
    for name, epochs in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"epochs: {epochs}")
    assert Config("FM", "ml-100k", [str(tmp_path / "a"), str(tmp_path / "b")], command_line=False)["epochs"] == 2
