"""Each format becomes the atomic files that RecBole has of it."""

import json

import pandas as pd
import pytest
from raw_data import ITEMS, SETS, USERS, convert, rows, write_set

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
MOVIES = "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq"
AMAZON = "item_id:token\ttitle:token\tcategories:token_seq\tbrand:token\tprice:float"


def made(tmp_path, format, **changed):
    source = write_set(tmp_path / "raw", format, **changed)
    assert convert(format, source, "--output", tmp_path / "out", "--name=tiny") == 0
    return {path.suffix[1:]: path for path in (tmp_path / "out" / "tiny").iterdir()}


def header(file):
    return file.read_text().split("\n")[0]


@pytest.mark.parametrize("format", SETS)
def test_every_format_has_four_columns_of_interactions(format, tmp_path):
    files = made(tmp_path, format)
    text = files["inter"].read_bytes()
    assert text.startswith(INTER.encode() + b"\n") and text.endswith(b"\n") and b"\r" not in text
    lines = next(iter(SETS[format].values()))
    assert len(rows(files["inter"])) == len(lines) - lines[0].startswith("user")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name != "tiny"]


def test_ml_100k(tmp_path):
    files = made(tmp_path, "ml-100k")
    assert rows(files["inter"]) == [["1", "11", "5", "881250949"], ["2", "12", "3", "891717742"]]
    assert header(files["user"]) == "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
    assert rows(files["user"])[0] == ["1", "24", "M", "technician", "85711"]
    assert header(files["item"]) == MOVIES.replace("genre", "class")
    assert rows(files["item"]) == [
        ["11", "Toy Story", "1995", "Animation Comedy"],
        ["12", "Misérables (V)", "1995", "Comedy"],
        ["13", "unknown", "", "unknown"],
    ]


def test_ml_1m(tmp_path):
    files = made(tmp_path, "ml-1m")
    assert rows(files["user"])[2] == ["3", "25", "M", "15", "55117-0001"]
    assert header(files["item"]) == MOVIES
    # As RecBole reads it.
    frame = pd.read_csv(files["item"], delimiter="\t", dtype=str, encoding="utf-8", engine="python")
    assert frame.values.tolist() == [
        ["11", "Toy Story", "1995", "Animation Children's Comedy"],
        ["12", "Misérables, Les", "1995", "Drama Musical"],
        ["13", '"Quoted" Story (a.k.a. Quotes)', "1998", "Comedy"],
        ["14", "Never Rated", "1999", "Film-Noir"],
    ]


def test_ml_10m_is_utf_8_and_has_half_stars(tmp_path):
    files = made(tmp_path, "ml-10m")
    assert [row[2] for row in rows(files["inter"])] == ["5", "3.5"]
    assert rows(files["item"])[1][1] == "Misérables, Les" and "user" not in files


def test_ml_20m_is_csv(tmp_path):
    files = made(tmp_path, "ml-20m")
    assert rows(files["inter"]) == [["1", "2", "3.5", "1112486027"], ["1", "29", "0.5", "1112484676"]]
    assert rows(files["item"]) == [
        ["2", "Jumanji", "1995", "Adventure Children Fantasy"],
        ["29", "City of Lost Children, The", "1995", "Adventure"],
        ["30", '"""Great"" Cats"', "1998", ""],
        ["31", "A Series", "2006", "Drama"],
        ["32", "No Year", "", "IMAX"],
    ]


def test_columns_of_csv_may_have_another_order(tmp_path):
    files = made(tmp_path, "ml-20m", ratings_csv=["timestamp,rating,movieId,userId", "1112486027,3.5,2,1"])
    assert rows(files["inter"]) == [["1", "2", "3.5", "1112486027"]]


@pytest.mark.parametrize("format", [name for name in SETS if name.startswith("amazon")])
def test_amazon_has_users_first_and_seconds(format, tmp_path):
    found = rows(made(tmp_path, format)["inter"])
    assert [row[:3] for row in found] == [[*row] for row in zip(USERS, ITEMS, ["5.0", "3.0", "1.0"])]
    times = (
        ["1588687728.923", "1588615855", "1000000000"]
        if "2023" in format
        else ["978480000", "953596800", "1404172800"]
    )
    assert [row[3] for row in found] == times


def test_metadata_of_2014_are_literals(tmp_path):
    files = made(tmp_path, "amazon-2014-ratings")
    assert header(files["item"]) == AMAZON
    assert rows(files["item"]) == [
        ["B000068VBQ", "Children's 'A' B", "Toys_&_Games Cards", "X", "9.99"],
        ["0001050125", "", "", "", ""],
    ]


def test_metadata_of_2014_may_be_json(tmp_path):
    line = json.dumps({"asin": "B1", "price": 3, "categories": [["A"]]})
    assert rows(made(tmp_path, "amazon-2014-reviews", meta_Toys_json=[line])["item"]) == [["B1", "A", "3"]]


def test_metadata_of_2018_repeat_items_and_have_prices_of_all_kinds(tmp_path, capsys):
    files = made(tmp_path, "amazon-2018-reviews")
    assert rows(files["item"]) == [
        ["B000068VBQ", "A Title", "Toys_&_Games Cards", "X", "1012.99"],
        ["0001050125", '"""Quoted"""', "", "NA", ""],
    ]
    assert "1 rows of ids that were there already are left out" in capsys.readouterr().out


def test_columns_without_a_value_are_left_out(tmp_path, capsys):
    files = made(tmp_path, "amazon-2023-reviews")
    assert header(files["item"]) == AMAZON.removesuffix("\tprice:float")
    assert rows(files["item"]) == [["B000068VBQ", "A", "Toys", "X"], ["0001050125", "B", "", ""]]
    assert "nothing is known of price" in capsys.readouterr().out
