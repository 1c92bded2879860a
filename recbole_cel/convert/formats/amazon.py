"""Amazon: ratings as CSV and reviews as objects, of 2014, 2018 and 2023, with metadata of items."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..checks import CONTROL, identifier, milliseconds, rating, seconds, text
from ..records import needed_integer, needed_number, needed_text, parse_json, parse_loose, records
from ..rows import separated, with_header
from .base import INTERACTIONS, LITERAL, OBJECT, Columns, Format, Part

# As RecBole names them, without sales ranks, which change by the hour.
ITEMS = ("item_id:token", "title:token", "categories:token_seq", "brand:token", "price:float")
USER, ITEM = identifier("user id"), identifier("item id")
# There are reviews without stars.
STARS = rating(0, 5)
PRICE = re.compile(r"\$?\s?([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,9})(\.[0-9]{1,9})?")
USER_FORM = re.compile(r"A[A-Z0-9]{10,20}")
ITEM_FORM = re.compile(r"[B0-9][A-Z0-9]{9}")
META = ("meta_*.json", "meta_*.jsonl")
REVIEWS = ("*.json", "*.jsonl")


def _item_first(columns: Columns) -> Columns:
    items, users, *others = columns
    return [users, items, *others]


def _swapped(users: int, other: str) -> Any:
    """Says whether nearly all of the first users have the form of items, and items that of users."""

    def share(form: re.Pattern[str], values: list[str]) -> float:
        return sum(form.fullmatch(value) is not None for value in values) / len(values)

    def suspicious(columns: Columns) -> str | None:
        if min(share(ITEM_FORM, columns[users]), share(USER_FORM, columns[1 - users])) < 0.9:
            return None
        order = "user,item" if users == 0 else "item,user"
        return f"is not in the order {order},rating,timestamp; is it {other}?"

    return suspicious


def _seconds(columns: Columns) -> Columns:
    """Times in seconds, as in all other data sets, with the milliseconds behind the point."""
    *others, times = columns
    return [*others, [f"{time[:-3]}.{time[-3:]}" if time[-3:] != "000" else time[:-3] for time in times]]


def _review(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        needed_text(record, "reviewerID"),
        needed_text(record, "asin"),
        needed_number(record, "overall"),
        needed_integer(record, "unixReviewTime"),
    )


def _review_2023(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        needed_text(record, "user_id"),
        needed_text(record, "parent_asin"),
        needed_number(record, "rating"),
        needed_integer(record, "timestamp"),
    )


def _metadata(record: dict[str, Any], key: str, brand: str, categories: str) -> tuple[str, ...]:
    return (
        needed_text(record, key),
        _text(record.get("title")),
        _categories(record.get(categories)),
        _text(record.get(brand)),
        _price(record.get("price")),
    )


def _text(value: object) -> str:
    """A text in one line; none where there is none."""
    return " ".join(CONTROL.sub(" ", value).split()) if isinstance(value, str) else ""


def _categories(value: object) -> str:
    """Categories, each once and as one word, in their order; they come as a list, or as lists of paths."""
    names: dict[str, None] = {}
    for entry in value if isinstance(value, list) else ():
        for name in entry if isinstance(entry, list) else [entry]:
            word = _text(name).replace(" ", "_")
            if word:
                names[word] = None
    return " ".join(names)


def _price(value: object) -> str:
    """A price in dollars; none where there is none, a span, or something else, as is common in 2018."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = repr(value)
    found = PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    return found[1].replace(",", "") + (found[2] or "") if found else ""


def _reviews(parse: Any, read: Any, times: Any, shaped: Any = lambda columns: columns) -> Part:
    return Part(
        REVIEWS,
        INTERACTIONS,
        partial(records, parse=parse, extract=read),
        (USER, ITEM, STARS, times),
        shaped=shaped,
        longest=OBJECT,
    )


def _items(parse: Any, key: str, brand: str, categories: str) -> Part:
    return Part(
        META,
        ITEMS,
        partial(records, parse=parse, extract=partial(_metadata, key=key, brand=brand, categories=categories)),
        (ITEM, text("title"), text("categories"), text("brand"), text("price")),
        longest=LITERAL if parse is parse_loose else OBJECT,
        may_repeat=True,
    )


def _ratings(names: Iterable[str], checks: Any, **others: Any) -> Part:
    read = partial(separated, separator=",", names=tuple(names))
    return Part(("*.csv",), INTERACTIONS, read, checks, **others)


RATINGS_2014 = _ratings(
    ("user", "item", "rating", "timestamp"),
    (USER, ITEM, STARS, seconds),
    suspicious=_swapped(0, "amazon-2018-ratings"),
)
RATINGS_2018 = _ratings(
    ("item", "user", "rating", "timestamp"),
    (ITEM, USER, STARS, seconds),
    shaped=_item_first,
    suspicious=_swapped(1, "amazon-2014-ratings"),
)
RATINGS_2023 = Part(
    ("*.csv",),
    INTERACTIONS,
    partial(with_header, needed=("user_id", "parent_asin", "rating", "timestamp"), ignored=("history",)),
    (USER, ITEM, STARS, milliseconds),
    shaped=_seconds,
    # Histories are long.
    longest=OBJECT,
)
ITEMS_2014 = _items(parse_loose, "asin", "brand", "categories")
ITEMS_2018 = _items(parse_json, "asin", "brand", "category")
ITEMS_2023 = _items(parse_json, "parent_asin", "store", "categories")
FORMATS = {
    "amazon-2014-ratings": Format("CSV: user,item,rating,timestamp", {"inter": RATINGS_2014, "item": ITEMS_2014}),
    "amazon-2018-ratings": Format("CSV: item,user,rating,timestamp", {"inter": RATINGS_2018, "item": ITEMS_2018}),
    "amazon-2023-ratings": Format(
        "CSV with a header: user_id,parent_asin,rating,timestamp", {"inter": RATINGS_2023, "item": ITEMS_2023}
    ),
    "amazon-2014-reviews": Format(
        "JSON lines: reviewerID, asin, overall, unixReviewTime",
        {"inter": _reviews(parse_loose, _review, seconds), "item": ITEMS_2014},
    ),
    "amazon-2018-reviews": Format(
        "JSON lines: reviewerID, asin, overall, unixReviewTime",
        {"inter": _reviews(parse_json, _review, seconds), "item": ITEMS_2018},
    ),
    "amazon-2023-reviews": Format(
        "JSON lines: user_id, parent_asin, rating, timestamp",
        {"inter": _reviews(parse_json, _review_2023, milliseconds, _seconds), "item": ITEMS_2023},
    ),
}
