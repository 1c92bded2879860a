"""Small raw files of each format, which a test may spoil; and the raw form of a data set from its atomic files."""

from __future__ import annotations

import json
from pathlib import Path

from recbole_cel.convert.command import main

RATINGS_1M = ["1::11::5::978300760", "1::12::3::978302109", "2::11::4::978301968", "3::13::1::978300275"]
USERS_1M = ["1::F::1::10::48067", "2::M::56::16::70072", "3::M::25::15::55117-0001"]
MOVIES_1M = [
    "11::Toy Story (1995)::Animation|Children's|Comedy",
    "12::Misérables, Les (1995)::Drama|Musical",
    '13::"Quoted" Story (a.k.a. Quotes) (1998)::Comedy',
    "14::Never Rated (1999)::Film-Noir",
]
FLAGS = {"Animation": 3, "Comedy": 5, "unknown": 0}


def _flags(*genres: str) -> str:
    places = {FLAGS[genre] for genre in genres}
    return "|".join("1" if number in places else "0" for number in range(19))


ML_100K = {
    "u.data": ["1\t11\t5\t881250949", "2\t12\t3\t891717742"],
    "u.user": ["1|24|M|technician|85711", "2|53|F|other|94043"],
    "u.item": [
        f"11|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/?Toy%20Story|{_flags('Animation', 'Comedy')}",
        f"12|Misérables (1995) (V)|||http://us.imdb.com|{_flags('Comedy')}",
        f"13|unknown||||{_flags('unknown')}",
    ],
}
ML_1M = {"ratings.dat": RATINGS_1M, "users.dat": USERS_1M, "movies.dat": MOVIES_1M}
ML_10M = {"ratings.dat": ["1::122::5::838985046", "2::185::3.5::838983525"], "movies.dat": MOVIES_1M}
ML_20M = {
    "ratings.csv": ["userId,movieId,rating,timestamp", "1,2,3.5,1112486027", "1,29,0.5,1112484676"],
    "movies.csv": [
        "movieId,title,genres",
        "2,Jumanji (1995),Adventure|Children|Fantasy",
        '29,"City of Lost Children, The (1995)",Adventure',
        '30,"""Great"" Cats (1998)",(no genres listed)',
        "31,A Series (2006\u20132007) ,Drama",
        "32,No Year,IMAX",
    ],
}
USERS = ["A2EFCYXHNK06IS", "A1WR23ER5HMAA9", "AO94DHGC771SJ"]
ITEMS = ["B000068VBQ", "0001050125", "B00005UF2F"]
STARS = ["5.0", "3.0", "1.0"]
TIMES = ["978480000", "953596800", "1404172800"]


def _csv(*columns: list[str]) -> list[str]:
    return [",".join(row) for row in zip(*columns)]


def _json(**columns: list) -> list[str]:
    return [json.dumps(dict(zip(columns, row))) for row in zip(*columns.values())]


REVIEWS = _json(
    reviewerID=USERS,
    asin=ITEMS,
    overall=[5.0, 3.0, 1.0],
    unixReviewTime=[*map(int, TIMES)],
    verified=[True, False, True],
    vote=["2", "1,001", "3"],
    reviewText=["a\tb\nc", "{[", "\U0001f600"],
)
META_2014 = [
    "{'asin': 'B000068VBQ', 'title': \"Children's 'A'\\tB\", 'price': 9.99, 'categories': "
    "[['Toys & Games', 'Cards'], ['Toys & Games']], 'rank': {'Toys': 5}, 'brand': 'X', 'image': None, 'x': -1e3}",
    "{'asin': '0001050125', 'related': {'also_bought': ['B00005UF2F']}}",
]
META_2018 = _json(
    asin=[ITEMS[0], ITEMS[1], ITEMS[0]],
    title=["A Title", '"Quoted"', "Again"],
    price=["$1,012.99", ".a-box{color:red}", "$3.00"],
    category=[["Toys & Games", "Cards"], [], []],
    brand=["X", "NA", "Z"],
)
REVIEWS_2023 = _json(
    user_id=USERS,
    parent_asin=ITEMS,
    asin=ITEMS,
    rating=[5.0, 3.0, 1.0],
    timestamp=[1588687728923, 1588615855000, 10**12],
)
META_2023 = _json(
    parent_asin=ITEMS[:2], title=["A", "B"], price=[None, None], store=["X", None], categories=[["Toys"], []]
)
HEAD_2023 = "user_id,parent_asin,rating,timestamp"
# Each format: its files, the one with the interactions first.
SETS = {
    "ml-100k": ML_100K,
    "ml-1m": ML_1M,
    "ml-10m": ML_10M,
    **dict.fromkeys(("ml-20m", "ml-25m", "ml-32m", "ml-latest", "ml-latest-small"), ML_20M),
    "amazon-2014-ratings": {"ratings_Toys.csv": _csv(USERS, ITEMS, STARS, TIMES), "meta_Toys.json": META_2014},
    "amazon-2018-ratings": {"Toys.csv": _csv(ITEMS, USERS, STARS, TIMES), "meta_Toys.json": META_2018},
    "amazon-2023-ratings": {
        "Toys.train.csv": [
            f"{HEAD_2023},history",
            *_csv(USERS, ITEMS, STARS, ["1588687728923", "1588615855000", "1" + "0" * 12], ["", "a b", ""]),
        ],
        "meta_Toys.jsonl": META_2023,
    },
    "amazon-2014-reviews": {"reviews_Toys_5.json": REVIEWS, "meta_Toys.json": META_2014},
    "amazon-2018-reviews": {"Toys_5.json": REVIEWS, "meta_Toys.json": META_2018},
    "amazon-2023-reviews": {"Toys.jsonl": REVIEWS_2023, "meta_Toys.jsonl": META_2023},
}
LATIN_1 = ("u.user", "u.item", "users.dat", "movies.dat")


def encoded(name: str, lines: list[str], format: str = "ml-1m") -> bytes:
    """The bytes of a raw file."""
    return ("\n".join(lines) + "\n").encode("latin-1" if name in LATIN_1 and format != "ml-10m" else "utf-8")


def write_set(folder: Path, format: str, **changed: list[str]) -> Path:
    """Write the raw files of a format; ``changed`` holds other lines of some, by names with _ for each dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in SETS[format].items():
        (folder / name).write_bytes(encoded(name, changed.get(name.replace(".", "_"), lines), format))
    return folder


def convert(*words: object) -> int:
    """Run the command; its exit code."""
    return main([*map(str, words)])


def refused(words, capsys, tmp_path):
    """What a command says that fails for bad input; nothing is left in the folder of output."""
    assert convert(*words, "--output", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.startswith("recbole_cel: ")
    assert not (tmp_path / "out").exists()
    return printed.err


def rows(file: Path) -> list[list[str]]:
    """The rows of an atomic file below its header, as they stand."""
    return [line.split("\t") for line in file.read_text(encoding="utf-8").split("\n")[1:] if line]


def rebuild_ml_1m(atomic: Path, raw: Path) -> None:
    """The raw form of ml-1m from its atomic files."""
    raw.mkdir()
    lines = ["::".join(row) for row in rows(atomic / "ml-1m.inter")]
    (raw / "ratings.dat").write_bytes(encoded("ratings.dat", lines))
    lines = [
        f"{user}::{gender}::{age}::{work}::{code}" for user, age, gender, work, code in rows(atomic / "ml-1m.user")
    ]
    (raw / "users.dat").write_bytes(encoded("users.dat", lines))
    lines = [
        f"{item}::{title} ({year})::{genres.replace(' ', '|')}"
        for item, title, year, genres in rows(atomic / "ml-1m.item")
    ]
    (raw / "movies.dat").write_bytes(encoded("movies.dat", lines))
