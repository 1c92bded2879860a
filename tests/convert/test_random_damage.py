"""Raw files that are damaged at random: refused in one line, or converted to files that a run accepts."""

import gzip
import random

import pytest
from raw_data import SETS, convert, write_set

from recbole_cel.inputs.columns import ColumnCheck, Floats, Ids, Tokens
from recbole_cel.inputs.header import read_header
from recbole_cel.inputs.rows import AtomicRows
from recbole_cel.inputs.text import check_text

PIECES = [
    *(b'"', b"'", b"\t", b"\r", b"\n", b"\n\n", b"::", b",", b"|", b"\0", b"\x1a", b" ", b"-", b"\\", b"{", b"}"),
    *(b"[", b"]", b"(", b"\xff", b"\xc3\xa9", b"\xe2\x80\xa8", b"\xc2\x85", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"\x1f\x8b", b"\\ud800", b"\\t", b"\\u0000", b"\\N{DASH}", b"nan", b"1e999", b"9" * 400, b"NA", b"[PAD]"),
    *(b"True", b"None", b"5."),
]
CHECKS = {"token": Tokens, "float": Floats, "token_seq": ColumnCheck}


def damaged(data, draws):
    """``data`` with pieces put in, taken out, replaced or doubled, or cut off, or spoilt under its compression."""
    for _ in range(draws.choice([1, 1, 1, 2, 5])):
        place, way = draws.randrange(len(data) + 1), draws.randrange(6)
        length = draws.randrange(1, 6)
        if way == 0:
            data = data[:place] + draws.choice(PIECES) + data[place:]
        elif way == 1:
            data = data[:place] + data[place + length :]
        elif way == 2:
            data = data[:place] + bytes([draws.randrange(256)]) + data[place + 1 :]
        elif way == 3:
            data = data[:place] + draws.choice(PIECES) + data[place + length :]
        elif way == 4:
            data = data + data[place:]
        else:
            data = data[:place]
    if draws.random() < 0.15:
        packed = bytearray(gzip.compress(data))
        packed[draws.randrange(len(packed))] ^= 1 << draws.randrange(8)
        data = bytes(packed)
    return data


def accepted(folder):
    """Check a data set as a run does, with all columns."""
    for path in folder.iterdir():
        check_text(path, "utf-8")
        columns = read_header(path, "utf-8", "\t")
        checks = {
            column.name: Ids() if column.name in ("user_id", "item_id") else CHECKS[column.type]()
            for column in columns
        }
        count = AtomicRows(path, "utf-8", "\t", [column.name for column in columns]).check(checks)
        assert count == path.read_bytes().count(b"\n") - 1


@pytest.mark.quick(3)
@pytest.mark.parametrize("seed", range(60))
def test_random_damage(seed, tmp_path, capsys):
    draws = random.Random(seed)
    codes = set()
    for number in range(40):
        format, folder = draws.choice([*SETS]), tmp_path / str(number)
        file = draws.choice(sorted(write_set(folder / "raw", format).iterdir()))
        file.write_bytes(damaged(file.read_bytes(), draws))
        code = convert(format, folder / "raw", "--output", folder / "out", "--name=x")
        said = capsys.readouterr().err
        codes.add(code)
        if code == 0:
            accepted(folder / "out" / "x")
        else:
            assert code == 2 and said.count("\n") == 1 and str(file.name) in said
            assert not (folder / "out").exists()
    assert codes == {0, 2}
