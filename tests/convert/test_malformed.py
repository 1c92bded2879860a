"""A malformed line is refused in one line that names the file and the number; nothing is left behind."""

import json

import pytest
from raw_data import (
    ML_20M,
    ML_100K,
    RATINGS_1M,
    REVIEWS,
    REVIEWS_2023,
    SETS,
    encoded,
    refused,
    write_set,
)


def changed(lines, number, text):
    """Lines of which that of a number is another; None takes its last field off."""
    return [*lines[: number - 1], text, *lines[number:]]


def review(**keys):
    return json.dumps({**json.loads(REVIEWS[0]), **keys})


DEEP = "[" * 40 + "]" * 40
# Format, file, number of the line, what it holds, and what is said.
MALFORMED = [
    (
        "ml-1m",
        "ratings.dat",
        3,
        "1::2::3",
        "has 3 columns, but there must be 4: UserID::MovieID::Rating::Timestamp",
    ),
    ("ml-1m", "ratings.dat", 1, "1::2::3::978300760::5", "has 5 columns"),
    ("ml-1m", "ratings.dat", 2, "1,2,3,978300760", "has 1 columns"),
    ("ml-1m", "ratings.dat", 2, "", "is blank, but lines follow"),
    ("ml-1m", "ratings.dat", 2, "1::2::6::978300760", "the rating 6 must be from 1 to 5 in steps of 1"),
    ("ml-1m", "ratings.dat", 2, "1::2::0::978300760", "the rating 0 must be from 1 to 5"),
    ("ml-1m", "ratings.dat", 2, "1::2::3.5::978300760", "in steps of 1"),
    ("ml-1m", "ratings.dat", 2, "1::2::nan::978300760", "the rating 'nan' is no finite number"),
    ("ml-1m", "ratings.dat", 2, "1::2::inf::978300760", "the rating 'inf' is no finite number"),
    ("ml-1m", "ratings.dat", 2, "1::2::-1::978300760", "the rating '-1' is no finite number"),
    ("ml-1m", "ratings.dat", 2, "1::2::1_0::978300760", "the rating '1_0' is no finite number"),
    ("ml-1m", "ratings.dat", 2, "1::2::::978300760", "the rating '' is no finite number"),
    ("ml-1m", "ratings.dat", 4, "1::2::3::2000-12-31", "the timestamp '2000-12-31' is no integer"),
    ("ml-1m", "ratings.dat", 4, "1::2::3::978300760.5", "the timestamp '978300760.5' is no integer"),
    ("ml-1m", "ratings.dat", 4, "1::2::3::-5", "the timestamp -5 is negative"),
    ("ml-1m", "ratings.dat", 4, "1::2::3::978300760000", "looks like milliseconds"),
    ("ml-1m", "ratings.dat", 2, "::2::3::978300760", "the user id is empty"),
    ("ml-1m", "ratings.dat", 2, "1::::3::978300760", "the movie id is empty"),
    ("ml-1m", "ratings.dat", 2, "1\t::2::3::978300760", r"the user id '1\t' holds a tab"),
    ("ml-1m", "ratings.dat", 2, "1\r::2::3::978300760", r"the user id '1\r' holds a tab, an end of line"),
    ("ml-1m", "ratings.dat", 2, " 1::2::3::978300760", "the user id ' 1' has space around it"),
    ("ml-1m", "ratings.dat", 2, "NA::2::3::978300760", "the user id 'NA' would be read as a missing one"),
    ("ml-1m", "ratings.dat", 2, "[PAD]::2::3::978300760", "the user id [PAD] is what RecBole calls a missing id"),
    ("ml-1m", "ratings.dat", 2, "1" * 2000 + "::2::3::978300760", "the user id has 2,000 characters"),
    ("ml-1m", "ratings.dat", 2, "x" * 70_000, "has more than 65,536 bytes"),
    ("ml-1m", "ratings.dat", 2, "1\0::2::3::978300760", "holds a NUL"),
    ("ml-1m", "ratings.dat", 4, "1::2::3:::978300760", "the timestamp ':978300760' is no integer"),
    ("ml-1m", "users.dat", 2, "2::X::56::16::70072", "the gender 'X' must be F or M"),
    ("ml-1m", "users.dat", 2, "2::M::old::16::70072", "the age 'old' must be an integer"),
    ("ml-1m", "users.dat", 2, "2::M::56::21::70072", "the occupation '21' must be an integer from 0 to 20"),
    ("ml-1m", "users.dat", 2, "2::M::56::16::", "the zip code is empty"),
    ("ml-1m", "users.dat", 2, "1::M::56::16::70072", "the id 1 is there already"),
    ("ml-1m", "movies.dat", 3, "13::::Comedy", "the title is empty"),
    ("ml-1m", "movies.dat", 3, "13::A\tB (1990)::Comedy", r"the title 'A\tB (1990)' holds a tab"),
    ("ml-1m", "movies.dat", 3, "13::A (1990)::Com\redy", r"the genres 'Com\redy' holds a tab, an end of line"),
    ("ml-1m", "users.dat", 3, "3::M::25::15::55\t7", "the zip code"),
    ("ml-1m", "movies.dat", 4, "11::Again (1990)::Comedy", "the id 11 is there already"),
    ("ml-100k", "u.data", 2, "1 2 3 881250949", "has 1 columns, but there must be 4"),
    ("ml-100k", "u.data", 2, "2\t12\t0.5\t891717742", "the rating 0.5 must be from 1 to 5"),
    ("ml-100k", "u.item", 2, ML_100K["u.item"][1][:-2], "has 23 columns, but there must be 24: movie id|"),
    ("ml-100k", "u.item", 2, ML_100K["u.item"][1][:-1] + "2", "the flag of Western '2' must be 0 or 1"),
    ("ml-10m", "ratings.dat", 1, "1::2::3.7::838985046", "in steps of 0.5"),
    ("ml-10m", "ratings.dat", 2, "1::2::0::838985046", "must be from 0.5 to 5"),
    ("ml-20m", "ratings.csv", 1, "1,2,3.5,1112486027", "must be the header userId,movieId,rating,timestamp"),
    ("ml-20m", "ratings.csv", 1, "userId,userId,rating,timestamp", "names 'userId' twice"),
    ("ml-20m", "ratings.csv", 3, ML_20M["ratings.csv"][0], "is the header again"),
    ("ml-20m", "ratings.csv", 2, "1,2,3.5", "has 3 columns, but there must be 4"),
    ("ml-20m", "movies.csv", 3, '29,"City,Drama', "is no CSV (unexpected end of data)"),
    ("ml-20m", "movies.csv", 3, '29,"City"x,Drama', "is no CSV"),
    ("ml-20m", "movies.csv", 3, "29,City, The,Drama", "has 4 columns, but there must be 3"),
    (
        "amazon-2014-ratings",
        "ratings_Toys.csv",
        1,
        "userId,productId,Rating,timestamp",
        "the rating 'Rating' is no finite",
    ),
    ("amazon-2014-ratings", "ratings_Toys.csv", 2, "A1WR23ER5HMAA9,B1,5.5,978480000", "must be from 0 to 5"),
    ("amazon-2014-ratings", "meta_Toys.json", 2, "{'asin': f()}", "is no Python literal: 'f()}' at character 10"),
    (
        "amazon-2014-ratings",
        "meta_Toys.json",
        2,
        "{'asin': 'B1', 'x': " + DEEP + "}",
        "is nested more than 32 deep",
    ),
    ("amazon-2014-ratings", "meta_Toys.json", 2, "{'asin': 'B1'", "is no Python literal: '{' was never closed"),
    (
        "amazon-2014-ratings",
        "meta_Toys.json",
        2,
        "{'asin': 'B1', 'p': " + "-" * 9999 + "1}",
        "is no Python literal: '---",
    ),
    ("amazon-2014-ratings", "meta_Toys.json", 2, "{'asin': 'B1', [1]: 2}", "is no Python literal: TypeError"),
    ("amazon-2014-ratings", "meta_Toys.json", 2, "{'asin': 'B1', 'price': 10**9}", "is no Python literal"),
    ("amazon-2014-ratings", "meta_Toys.json", 2, "{'title': 'x'}", "has no asin; its keys are title"),
    ("amazon-2018-ratings", "Toys.csv", 2, "B1,,5.0,978480000", "the user id is empty"),
    ("amazon-2018-reviews", "Toys_5.json", 3, REVIEWS[2][:-5], "is no JSON:"),
    ("amazon-2018-reviews", "Toys_5.json", 3, "[1]", "must be an object with keys, got a list"),
    ("amazon-2018-reviews", "Toys_5.json", 3, '{"asin": "B1"}', "has no reviewerID; its keys are asin"),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(overall="5"), "overall must be a number, got '5'"),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(overall=True), "overall must be a number, got True"),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(overall=7), "the rating 7 must be from 0 to 5"),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(overall=float("nan")), "is no JSON: NaN is no number"),
    (
        "amazon-2018-reviews",
        "Toys_5.json",
        3,
        review(unixReviewTime=1.5),
        "unixReviewTime must be an integer, got 1.5",
    ),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(asin=None), "asin must be text, got None"),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(asin=""), "the item id is empty"),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(asin="a\tb"), r"the item id 'a\tb' holds a tab"),
    (
        "amazon-2018-reviews",
        "Toys_5.json",
        3,
        review(asin="a\nb"),
        r"the item id 'a\nb' holds a tab, an end of line",
    ),
    ("amazon-2018-reviews", "Toys_5.json", 3, review(asin="\ud83d"), "control character"),
    ("amazon-2018-reviews", "Toys_5.json", 2, '{"x": ' + "[" * 99999 + "}", "is nested more than 32 deep"),
    ("amazon-2018-reviews", "Toys_5.json", 2, '{"asin": "a", "asin": "b"}', "names 'asin' twice in one object"),
    ("amazon-2018-reviews", "Toys_5.json", 2, '{"x": ' + "9" * 5000 + "}", "a number is too long"),
    ("amazon-2018-reviews", "meta_Toys.json", 2, "{'asin': 'B1'}", "is no JSON: Expecting property name"),
    ("amazon-2023-reviews", "Toys.jsonl", 2, REVIEWS_2023[1].replace("000}", "}"), "looks like seconds"),
    (
        "amazon-2023-reviews",
        "Toys.jsonl",
        2,
        REVIEWS_2023[1].replace("000}", "0000000}"),
        "is after the year 2286",
    ),
    (
        "amazon-2023-ratings",
        "Toys.train.csv",
        1,
        "user_id,asin,rating,timestamp",
        "must be the header user_id,parent_asin",
    ),
]


@pytest.mark.parametrize(("format", "file", "number", "text", "said"), MALFORMED)
def test_malformed_lines_are_refused_by_number(format, file, number, text, said, tmp_path, capsys):
    lines = changed(SETS[format][file], number, text)
    source = write_set(tmp_path / "raw", format, **{file.replace(".", "_"): lines})
    printed = refused([format, source], capsys, tmp_path)
    assert f"{file}, line {number}: " in printed and said in printed


def test_the_number_holds_beyond_the_first_block(tmp_path, capsys):
    lines = [f"{number % 6040}::{number % 3000}::4::978300760" for number in range(1, 60_001)]
    lines[54_320] += "::"
    file = tmp_path / "ratings.dat"
    file.write_bytes(encoded("ratings.dat", lines))
    printed = refused(["ml-1m", file], capsys, tmp_path)
    assert "ratings.dat, line 54321: has 5 columns" in printed


def test_the_first_of_several_is_told(tmp_path, capsys):
    lines = changed(changed(RATINGS_1M, 4, "1::2"), 3, "1::2::9::978300760")
    source = write_set(tmp_path / "raw", "ml-1m", ratings_dat=changed(lines, 2, "1:: ::5::978300760"))
    assert "ratings.dat, line 2: the movie id" in refused(["ml-1m", source], capsys, tmp_path)


@pytest.mark.parametrize("format", ["amazon-2014-ratings", "amazon-2018-ratings"])
def test_users_and_items_in_the_other_order_are_noticed(format, tmp_path, capsys):
    other = {"amazon-2014-ratings": "amazon-2018-ratings"}.get(format, "amazon-2014-ratings")
    source = write_set(tmp_path / "raw", other) / next(iter(SETS[other]))
    assert ", line 1: is not in the order" in refused([format, source], capsys, tmp_path)
