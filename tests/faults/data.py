"""Atomic files with bytes and fields that are missing, changed, moved, of another type or of another encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from . import tiny_runs
from .grammar import mutated
from .trial import Trial, unless_finite

SECONDS = 20.0
ENDS = ("inter", "inter", "inter", "user", "item")
FILES = "inter", "user", "item"
CELLS = [
    *("", " ", "nan", "inf", "-inf", "1e400", "-1", "0", "1e9", "abc", "1,5", "1 2", "NULL", "[PAD]"),
    *("\u00e9", "\u202e", "\x00"),
    *('"', "'", '"a', "a\u00a0b", "1e-320", "True", "u1", "i1", "x" * 3000, "9" * 400, "\ufeff", "\r"),
    "__import__('os')",
]  # fmt: skip
TYPES = [
    "",
    ":",
    ":text",
    ":tokens",
    ":float_seq",
    ":token_seq",
    ":int",
    ":token:float",
    ": float",
    ":FLOAT",
    ":token",
]
SIGNS = [
    b"\t",
    b"\n",
    b"\r\n",
    b" ",
    b"\0",
    b"\xff",
    b"\xe9",
    b'"',
    b"'",
    b":",
    b",",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"nan",
    b"-",
]


def prepare(folder: Path) -> None:
    tiny_runs.data(folder / "data")
    (folder / "digest").write_text(_digest(tiny_runs.until_training("FM_CEL", tiny_runs.options(folder / "data"))))


def trial(random: Random, folder: Path) -> Trial:
    ways: list[tuple[int, Callable[..., Trial]]] = [
        (6, _bytes), (6, _cells), (3, _headers), (5, _refused), (2, _same), (2, _shapes), (2, _graph),
    ]  # fmt: skip
    way = random.choices([way for _, way in ways], [weight for weight, _ in ways])[0]
    return way(random, folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {end: (folder / "data" / "tiny" / f"tiny.{end}").read_bytes() for end in FILES}


def _trial(
    random: Random, folder: Path, what: str, files: dict[str, bytes | None], refused: bool | None = None,
    same: bool = False, model: str | None = None, **given: Any,
) -> Trial:  # fmt: skip
    name = model or random.choice(["FM_CEL", "FM_CEL", "DeepFM_CEL", "MF_CEL", "FM"])
    runs = random.random() < 0.25

    def call() -> Any:
        place = Path("data/tiny")
        place.mkdir(parents=True)
        for end, content in {**_files(folder), **files}.items():
            if content is not None:
                (place / f"tiny.{end}").write_bytes(content)
        options = {**tiny_runs.options(Path("data").resolve(), name), **given}
        if runs:
            return tiny_runs.run(name, options)
        return tiny_runs.until_training(name, options)

    def wrong(result: Any) -> str | None:
        if isinstance(result, dict):
            return unless_finite(result)
        if same and name == "FM_CEL" and _digest(result) != (folder / "digest").read_text():
            return "the data differ"
        return _holes(result)

    return Trial(f"{name}: {what}", call, False if same else refused, wrong)


def _digest(reached: Any) -> str:
    found = reached[0]._fingerprint
    return f"{found['digest']} {found['evaluated']}"


def _holes(reached: Any) -> str | None:
    """Numbers that are none, in what would be trained on."""
    data = getattr(reached[1], "_dataset", None)
    for features in (data.inter_feat, data.user_feat, data.item_feat) if data is not None else ():
        for name, column in features.interaction.items() if features is not None else ():
            if column.is_floating_point() and not bool(column.isfinite().all()):
                return f"{name} has numbers that are not finite"
    return None


def _bytes(random: Random, folder: Path) -> Trial:
    end = random.choice(ENDS)
    content = _files(folder)[end]
    # The header and the first rows are met more often than at random.
    head = random.choice([len(content), 60, 200])
    return _trial(
        random, folder, f"bytes of .{end}", {end: mutated(random, content[:head], SIGNS) + content[head:]}
    )


def _rows(content: bytes) -> list[list[str]]:
    return [line.split("\t") for line in content.decode().splitlines()]


def _joined(rows: list[list[str]], separator: str = "\t", line: str = "\n") -> bytes:
    return (line.join(separator.join(row) for row in rows) + line).encode()


def _cells(random: Random, folder: Path) -> Trial:
    end = random.choice(ENDS)
    rows = _rows(_files(folder)[end])
    column = random.randrange(len(rows[0]))
    text = random.choice(CELLS)
    share = random.choice([0.0, 0.0, 0.01, 0.2, 1.0])
    at = random.randrange(1, len(rows))
    for number, row in enumerate(rows[1:], 1):
        if number == at or random.random() < share:
            row[column] = text
    return _trial(
        random,
        folder,
        f"{rows[0][column]} of .{end} is {text[:20]!r} in row {at}, and {share}",
        {end: _joined(rows)},
    )


def _headers(random: Random, folder: Path) -> Trial:
    end = random.choice(ENDS)
    rows = _rows(_files(folder)[end])
    column = random.randrange(len(rows[0]))
    name, _, kind = rows[0][column].partition(":")
    rows[0][column] = random.choice([
        name + random.choice(TYPES), f"{name} :{kind}", f" {name}:{kind}", f"{name.upper()}:{kind}", f":{kind}",
        "", name,
        f"{name}\ufeff:{kind}", f"{name}:{random.choice(['token', 'float', 'token_seq', 'float_seq'])}",
        f'"{name}:{kind}"',
        rows[0][0], f"{name}2:{kind}", "label:float", "a" * 2000 + ":token",
    ])  # fmt: skip
    return _trial(random, folder, f"header of .{end}: {rows[0]}", {end: _joined(rows)})


def _refused(random: Random, folder: Path) -> Trial:
    """What must be refused, whatever the model."""
    files = _files(folder)
    rows = _rows(files["inter"])
    at, column = random.randrange(1, len(rows)), random.randrange(3)
    kind = random.randrange(13)
    if kind == 0:
        rows[at][2] = random.choice(["good", "1;5", "five", "1.2.3", "--", "u3"])
        return _trial(random, folder, f"rating is {rows[at][2]!r} in row {at}", {"inter": _joined(rows)}, True)
    if kind == 1:
        rows[0][column] = rows[0][column].partition(":")[0]
        return _trial(random, folder, f"header {rows[0]}", {"inter": _joined(rows)}, True)
    if kind == 2:
        rows[0][column] = rows[0][column].partition(":")[0] + random.choice(
            [":text", ":int", ":tok", ":floats", ":"]
        )
        return _trial(random, folder, f"header {rows[0]}", {"inter": _joined(rows)}, True)
    if kind == 3:
        rows = [row[:column] + row[column + 1 :] for row in rows]
        return _trial(random, folder, f"no column {column}", {"inter": _joined(rows)}, True)
    if kind == 4:
        return _trial(random, folder, "an empty file", {"inter": b""}, True)
    if kind == 5:
        return _trial(random, folder, "a header alone", {"inter": _joined(rows[:1])}, True)
    if kind == 6:
        content = files["inter"]
        cut = random.randrange(40, len(content))
        return _trial(random, folder, f"NUL at {cut}", {"inter": content[:cut] + b"\0" * 3 + content[cut:]}, True)
    if kind == 7:
        sign = random.choice([b"\xff", b"\xe9", b"\xc3", b"\x80"])
        content = files["inter"]
        cut = content.index(b"u", random.randrange(40, len(content) - 30)) + 1
        return _trial(random, folder, f"{sign!r} at {cut}", {"inter": content[:cut] + sign + content[cut:]}, True)
    if kind == 8:
        rows[at] += ["7"] * random.choice([1, 2])
        return _trial(random, folder, f"{len(rows[at])} fields in row {at}", {"inter": _joined(rows)}, True)
    if kind == 9:
        rows[0][column] = rows[0][(column + 1) % 3]
        return _trial(random, folder, f"header {rows[0]}", {"inter": _joined(rows)}, True)
    if kind == 10:
        return _trial(
            random, folder, "another separator", {"inter": _joined(rows, random.choice([",", ";", " "]))}, True
        )
    if kind == 11:
        for row in rows[1:]:
            row[2] = random.choice(["1", "2"])
        return _trial(random, folder, "all labels are equal", {"inter": _joined(rows)}, True, model="FM_CEL")
    return _trial(random, folder, "UTF-16", {"inter": files["inter"].decode().encode("utf-16")}, True)


def _same(random: Random, folder: Path) -> Trial:
    """What changes nothing that counts."""
    files = _files(folder)
    end = random.choice(FILES)
    content = files[end]
    rows = _rows(content)
    order = random.sample(range(len(rows[0])), len(rows[0]))
    way = random.randrange(5)
    new = [
        content.rstrip(b"\n"), content.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + content,
        _joined([[row[column] for column in order] for row in rows]),
        _joined([[*row, "1"] if n else [*row, "other:float"]
                                                                             for n, row in enumerate(rows)]),
    ][way]  # fmt: skip
    what = ["no newline at the end", "CR LF", "BOM", "columns in another order", "another column"][way]
    return _trial(random, folder, f".{end}: {what}", {end: new}, same=True)


def _shapes(random: Random, folder: Path) -> Trial:
    rows = _rows(_files(folder)["inter"])
    way = random.randrange(6)
    if way == 0:
        some = [rows[0], *random.sample(rows[1:], random.choice([1, 2, 3, 8, 20]))]
        return _trial(random, folder, f"{len(some) - 1} interactions", {"inter": _joined(some)})
    if way == 1:
        one = random.randrange(2)
        some = [rows[0], *([*row[:one], "x1", *row[one + 1 :]] for row in rows[1:])]
        return _trial(random, folder, "one user or item", {"inter": _joined(some)})
    if way == 2:
        end = random.choice(["user", "item"])
        return _trial(random, folder, f"no .{end}", {end: None})
    if way == 3:
        end = random.choice(["user", "item"])
        few = _rows(_files(folder)[end])[: random.choice([1, 2, 5])]
        return _trial(random, folder, f"few rows in .{end}", {end: _joined(few)})
    if way == 4:
        return _trial(random, folder, "no .inter", {"inter": None}, True)
    end = random.choice(["user", "item"])
    doubled = _rows(_files(folder)[end])
    return _trial(random, folder, f".{end} with ids twice", {end: _joined([*doubled, *doubled[1:9]])})


def _graph(random: Random, folder: Path) -> Trial:
    """A model of a knowledge graph, whose files are broken."""
    triples = [["head_id:token", "relation_id:token", "tail_id:token"]]
    triples += [[f"e{n}", f"r{n % 3}", f"e{(n * 7) % 40}"] for n in range(40)]
    links = [["item_id:token", "entity_id:token"], *([f"i{n}", f"e{n}"] for n in range(40))]
    files = {"kg": _joined(triples), "link": _joined(links)}
    end = random.choice(["kg", "link"])
    content = files[end]
    head = random.choice([len(content), 50])
    files[end] = random.choice(
        [mutated(random, content[:head], SIGNS) + content[head:], b"", content[: random.randrange(90)]]
    )
    columns = {
        "inter": ["user_id", "item_id"],
        "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"],
    }
    return _trial(
        random, folder, f".{end} is {files[end][:80]!r}", {**files, "user": None, "item": None}, model="CKE",
        load_col=columns, threshold=None, numerical_features=[], metrics=["NDCG"], valid_metric="NDCG@10",
        topk=[10],
    )  # fmt: skip
