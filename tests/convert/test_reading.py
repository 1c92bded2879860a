"""Compression, archives, encodings and ends of lines; and files that are cut off."""

import gzip
import os
import time
import tracemalloc
import zipfile

import pytest
from raw_data import ML_1M, RATINGS_1M, convert, encoded, refused, rows, write_set

from recbole_cel.convert import lines as reading
from recbole_cel.convert.records import Unfit, parse_json, parse_literal


def expected(tmp_path):
    source = write_set(tmp_path / "plain", "ml-1m")
    assert convert("ml-1m", source, "--output", tmp_path / "expected") == 0
    return {path.name: path.read_bytes() for path in (tmp_path / "expected" / "ml-1m").iterdir()}


def converted(source, tmp_path, *words):
    assert convert("ml-1m", source, "--output", tmp_path / "out", *words) == 0
    return {path.name: path.read_bytes() for path in (tmp_path / "out" / "ml-1m").iterdir()}


def zipped(path, folder="ml-1m/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{folder}README", "x")
        for name, lines in ML_1M.items():
            archive.writestr(folder + name, encoded(name, lines))
    return path


@pytest.mark.parametrize(
    "way", ["gzip", "gzip under the plain name", "several gzip in one", "crlf", "bom", "no last end"]
)
def test_other_bytes_of_the_same_lines(way, tmp_path):
    raw = write_set(tmp_path / "raw", "ml-1m")
    for path in list(raw.iterdir()):
        data = path.read_bytes()
        if way == "gzip":
            path.unlink()
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
        elif way == "gzip under the plain name":
            path.write_bytes(gzip.compress(data))
        elif way == "several gzip in one":
            path.write_bytes(gzip.compress(data[:30]) + gzip.compress(data[30:]))
        elif way == "crlf":
            path.write_bytes(data.replace(b"\n", b"\r\n"))
        elif way == "bom":
            path.write_bytes(b"\xef\xbb\xbf" + data.decode("latin-1").encode())
        else:
            path.write_bytes(data[:-1])
    assert converted(raw, tmp_path) == expected(tmp_path)


def test_a_zip_archive_as_it_is_fetched(tmp_path):
    assert converted(zipped(tmp_path / "ml-1m.zip"), tmp_path) == expected(tmp_path)


def test_the_folder_around_the_folder(tmp_path):
    write_set(tmp_path / "raw" / "ml-1m", "ml-1m")
    assert converted(tmp_path / "raw", tmp_path) == expected(tmp_path)


def test_a_file_alone_and_blank_lines_at_its_end(tmp_path):
    file = tmp_path / "anything"
    file.write_bytes(encoded("ratings.dat", [*RATINGS_1M, "", ""]))
    assert converted(file, tmp_path) == {"ml-1m.inter": expected(tmp_path)["ml-1m.inter"]}


@pytest.mark.parametrize("block", [1, 7, 40])
def test_blocks_of_any_size(block, tmp_path, monkeypatch):
    raw = write_set(tmp_path / "raw", "ml-1m")
    whole = expected(tmp_path)
    monkeypatch.setattr(reading, "BLOCK", block)
    assert converted(raw, tmp_path) == whole


def test_cut_off_gzip_is_told_with_the_line(tmp_path, capsys):
    numbers = [f"{n}::{n * 7919 % 3001}::{1 + n % 5}::{978300760 + n * n}" for n in range(1, 30_000)]
    data = encoded("ratings.dat", numbers)
    packed = gzip.compress(data)
    (tmp_path / "ratings.dat").write_bytes(packed[: len(packed) // 2])
    printed = refused(["ml-1m", tmp_path / "ratings.dat"], capsys, tmp_path)
    line = int(printed.partition("line ")[2].partition(":")[0])
    assert "the compressed data are cut off here; fetch the file again" in printed
    assert 12_000 < line < 18_000


def test_damaged_gzip(tmp_path, capsys):
    packed = bytearray(gzip.compress(encoded("ratings.dat", RATINGS_1M)))
    packed[-6] ^= 1
    (tmp_path / "ratings.dat").write_bytes(packed)
    printed = refused(["ml-1m", tmp_path / "ratings.dat"], capsys, tmp_path)
    assert "is damaged (CRC check failed" in printed and "line " in printed


def test_damaged_zip(tmp_path, capsys):
    path = zipped(tmp_path / "ml-1m.zip")
    path.write_bytes(path.read_bytes()[:-30])
    assert "a damaged archive" in refused(["ml-1m", path], capsys, tmp_path)


def test_zip_without_the_ratings(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/movies.dat", "x")
    printed = refused(["ml-1m", tmp_path / "a.zip"], capsys, tmp_path)
    assert "there is no ratings.dat; there is movies.dat" in printed


def test_encodings(tmp_path, capsys):
    # What is latin-1 among UTF-8 is an error in a format of UTF-8.
    raw = write_set(tmp_path / "raw", "ml-10m")
    (raw / "movies.dat").write_bytes(b"1::A (1990)::Drama\n2::B\xe9 (1990)::Drama\n")
    assert "movies.dat, line 2: byte 0xe9 is no UTF-8" in refused(["ml-10m", raw], capsys, tmp_path)
    (raw / "movies.dat").write_bytes("1::A (1990)::Drama\n".encode("utf-16"))
    assert "movies.dat, line 1: is UTF-16" in refused(["ml-10m", raw], capsys, tmp_path)
    # Copies of old files in UTF-8 are read as what they are.
    raw = write_set(tmp_path / "copy", "ml-1m")
    (raw / "movies.dat").write_bytes("1::Bé (1990)::Drama\n".encode() + "2::Cé (1990)::Drama\n".encode("latin-1"))
    assert convert("ml-1m", raw, "--output", tmp_path) == 0
    assert [row[1] for row in rows(tmp_path / "ml-1m" / "ml-1m.item")] == ["Bé", "Cé"]


class Endless:
    """A stream of equal lines of 100 bytes, which hands out a megabyte at a time."""

    def __init__(self, megabytes):
        self.left = megabytes

    def read1(self, size):
        self.left -= 1
        return (b"x" * 99 + b"\n") * 10_000 if self.left >= 0 else b""


def test_memory_does_not_grow_with_the_file():
    tracemalloc.start()
    try:
        count = sum(len(block.texts) for block in reading.numbered_lines(Endless(30), "x", "utf-8", 1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 300_000 and peak < 12e6


@pytest.mark.parametrize("mark", ["[", '["', '"[', '\\"[', "{", "'", "\\'", "(", "-", "[1,"])
@pytest.mark.parametrize("parse", [parse_json, parse_literal])
def test_long_lines_of_marks_are_refused_at_once(mark, parse):
    start = time.process_time()
    with pytest.raises(Unfit):
        parse('{"x": "' + mark * (500_000 // len(mark)))
    with pytest.raises(Unfit):
        parse("{'x': " + mark * (500_000 // len(mark)))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_files_of_nothing(data, tmp_path, capsys):
    (tmp_path / "ratings.dat").write_bytes(data)
    assert "ratings.dat: holds no rows" in refused(["ml-1m", tmp_path / "ratings.dat"], capsys, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_files_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "ratings.dat").write_bytes(b"x")
    (tmp_path / "ratings.dat").chmod(0)
    assert convert("ml-1m", tmp_path / "ratings.dat", "--output", tmp_path / "out") == 1
    assert "ratings.dat: Permission denied" in capsys.readouterr().err
