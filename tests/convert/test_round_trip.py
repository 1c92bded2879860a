"""What is converted from the raw form of a data set is what RecBole has of it."""

from pathlib import Path

import pytest
import recbole
from raw_data import FLAGS, convert, encoded, rebuild_ml_1m, rows, write_set

from recbole_cel.convert.formats.movielens import GENRES_100K

SHARED = Path(__file__).parents[3] / "shared" / "data" / "ml-1m"
EXAMPLE = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"


def test_ml_1m_comes_back_bit_for_bit(tmp_path):
    if not (SHARED / "ml-1m.inter").is_file():
        pytest.skip(f"needs the atomic files of ml-1m in {SHARED}")
    rebuild_ml_1m(SHARED, tmp_path / "raw")
    assert convert("ml-1m", tmp_path / "raw", "--output", tmp_path) == 0
    for kind in ("inter", "user", "item"):
        name = f"ml-1m.{kind}"
        assert (tmp_path / "ml-1m" / name).read_bytes() == (SHARED / name).read_bytes(), kind


def test_the_raw_form_comes_back(tmp_path):
    raw = write_set(tmp_path / "raw", "ml-1m")
    # Quotes at the beginning of a value stand otherwise in an atomic file.
    text = (raw / "movies.dat").read_text(encoding="latin-1").replace('"', "")
    (raw / "movies.dat").write_text(text, encoding="latin-1")
    assert convert("ml-1m", raw, "--output", tmp_path) == 0
    rebuild_ml_1m(tmp_path / "ml-1m", tmp_path / "again")
    for file in raw.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_ml_100k_differs_from_recboles_in_two_movies(tmp_path):
    """RecBole has "unkonwn" for the one without a title, and V for the year of one that is a video."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "u.data").write_bytes(encoded("u.data", ["\t".join(row) for row in rows(EXAMPLE / "ml-100k.inter")]))
    (raw / "u.user").write_bytes(encoded("u.user", ["|".join(row) for row in rows(EXAMPLE / "ml-100k.user")]))
    expected, lines = rows(EXAMPLE / "ml-100k.item"), []
    own = {
        "267": ["unknown", ""],
        "1412": ["Land Before Time III: The Time of the Great Giving (V)", "1995"],
    }
    for row in expected:
        flags = "|".join("01"[name in row[3].split(" ")] for name in GENRES_100K)
        title = f"{row[1]} ({row[2]})" if row[0] != "267" else "unknown"
        lines.append(f"{row[0]}|{title}|01-Jan-1995||http://us.imdb.com|{flags}")
        row[1:3] = own.get(row[0], row[1:3])
    (raw / "u.item").write_bytes(encoded("u.item", lines))
    assert convert("ml-100k", raw, "--output", tmp_path) == 0
    for kind in ("inter", "user"):
        name = f"ml-100k.{kind}"
        assert (tmp_path / "ml-100k" / name).read_bytes() == (EXAMPLE / name).read_bytes(), kind
    assert rows(tmp_path / "ml-100k" / "ml-100k.item") == expected
    assert FLAGS.keys() <= set(GENRES_100K)
