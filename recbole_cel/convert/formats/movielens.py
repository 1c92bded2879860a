"""MovieLens: 100k (tabs and bars), 1M and 10M (two colons), and all later ones (CSV with a header)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ..checks import Check, filled, identifier, integer, one_of, rating, seconds, text
from ..lines import LATIN_1, Lines
from ..rows import Rows, separated, with_header
from .base import INTERACTIONS, Columns, Format, Part

USERS = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
MOVIES = ("item_id:token", "movie_title:token_seq", "release_year:token", "genre:token_seq")
# RecBole calls genres so in ml-100k.
MOVIES_100K = (*MOVIES[:3], "class:token_seq")
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# Those of a series may be of several years, the first of which counts; (V) is a video.
YEAR = re.compile(r"(?P<title>.*?)\s?\((?P<year>[0-9]{4})(?:[-\u2013][0-9]{0,4})?\)(?P<video> \(V\))?\s*")
NO_GENRES = "(no genres listed)"

USER, MOVIE = identifier("user id"), identifier("movie id")
STARS, HALF_STARS = rating(1, 5, 1), rating(0.5, 5, 0.5)
AGE, GENDER = integer("age", 0, 150), one_of("gender", ("F", "M"))


def _year(title: str) -> tuple[str, str]:
    """A title without its year, and the year; none where there is none."""
    found = YEAR.fullmatch(title)
    if found is None:
        return title, ""
    return found["title"] + (found["video"] or ""), found["year"]


def _movies(columns: Columns) -> Columns:
    ids, titles, genres = columns
    names, years = zip(*map(_year, titles))
    lists = ["" if cell == NO_GENRES else cell.replace(" ", "_").replace("|", " ") for cell in genres]
    return [ids, list(names), list(years), lists]


def _movies_100k(columns: Columns) -> Columns:
    flags = zip(*columns[5:])
    genres = ["|".join(name for name, flag in zip(GENRES_100K, row) if flag == "1") for row in flags]
    return _movies([columns[0], columns[1], genres])


def _users_dat(columns: Columns) -> Columns:
    ids, gender, age, occupation, zip_code = columns
    return [ids, age, gender, occupation, zip_code]


def _dat(stars: Check, encoding: str, with_users: bool) -> dict[str, Part]:
    """Files of two colons."""

    def read(*names: str) -> Callable[[Iterable[Lines], str], Iterator[Rows]]:
        return partial(separated, separator="::", names=names)

    parts = {
        "inter": Part(
            ("ratings.dat",),
            INTERACTIONS,
            read("UserID", "MovieID", "Rating", "Timestamp"),
            (USER, MOVIE, stars, seconds),
        ),
        "item": Part(
            ("movies.dat",),
            MOVIES,
            read("MovieID", "Title", "Genres"),
            (MOVIE, filled("title"), text("genres")),
            shaped=_movies,
            encoding=encoding,
        ),
    }
    if with_users:
        parts["user"] = Part(
            ("users.dat",),
            USERS,
            read("UserID", "Gender", "Age", "Occupation", "Zip-code"),
            (USER, GENDER, AGE, integer("occupation", 0, 20), filled("zip code")),
            shaped=_users_dat,
            encoding=encoding,
        )
    return parts


ML_100K = {
    "inter": Part(
        ("u.data",),
        INTERACTIONS,
        partial(separated, separator="\t", names=("user id", "item id", "rating", "timestamp")),
        (USER, MOVIE, STARS, seconds),
    ),
    "user": Part(
        ("u.user",),
        USERS,
        partial(separated, separator="|", names=("user id", "age", "gender", "occupation", "zip code")),
        (USER, AGE, GENDER, filled("occupation"), filled("zip code")),
        encoding=LATIN_1,
    ),
    "item": Part(
        ("u.item",),
        MOVIES_100K,
        partial(
            separated,
            separator="|",
            names=("movie id", "movie title", "release date", "video release date", "IMDb URL", *GENRES_100K),
        ),
        (
            *(MOVIE, filled("title"), text("release date"), text("video release date"), text("IMDb URL")),
            *(one_of(f"flag of {genre}", ("0", "1")) for genre in GENRES_100K),
        ),
        shaped=_movies_100k,
        encoding=LATIN_1,
    ),
}
ML_CSV = {
    "inter": Part(
        ("ratings.csv",),
        INTERACTIONS,
        partial(with_header, needed=("userId", "movieId", "rating", "timestamp")),
        (USER, MOVIE, HALF_STARS, seconds),
    ),
    "item": Part(
        ("movies.csv",),
        MOVIES,
        partial(with_header, needed=("movieId", "title", "genres")),
        (MOVIE, filled("title"), text("genres")),
        shaped=_movies,
    ),
}
FORMATS = {
    "ml-100k": Format("u.data, u.user, u.item", ML_100K, "ml-100k"),
    "ml-1m": Format("ratings.dat, users.dat, movies.dat", _dat(STARS, LATIN_1, True), "ml-1m"),
    "ml-10m": Format("ratings.dat, movies.dat", _dat(HALF_STARS, "utf-8", False), "ml-10m"),
    **{
        name: Format("ratings.csv, movies.csv", ML_CSV, name)
        for name in ("ml-20m", "ml-25m", "ml-32m", "ml-latest", "ml-latest-small")
    },
}
