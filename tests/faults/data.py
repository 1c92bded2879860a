"""Atomic files with bytes and fields that are missing, changed, moved, of another type or of another encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from . import tiny_runs
from .data_files import FILES, data_trial, digest, files_of, joined, rows_of
from .grammar import mutated
from .trial import Trial

SECONDS = 20.0
ENDS = ("inter", "inter", "inter", "user", "item")
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
    (folder / "digest").write_text(digest(tiny_runs.until_training("FM_CEL", tiny_runs.options(folder / "data"))))


def trial(random: Random, folder: Path) -> Trial:
    ways: list[tuple[int, Callable[..., Trial]]] = [
        (6, _bytes), (6, _cells), (3, _headers), (5, _refused), (2, _same), (2, _shapes), (2, _graph),
        (2, _labels), (1, _ratings),
    ]  # fmt: skip
    way = random.choices([way for _, way in ways], [weight for weight, _ in ways])[0]
    return way(random, folder)


def _bytes(random: Random, folder: Path) -> Trial:
    end = random.choice(ENDS)
    content = files_of(folder)[end]
    # The header and the first rows are met more often than at random.
    head = random.choice([len(content), 60, 200])
    return data_trial(
        random, folder, f"bytes of .{end}", {end: mutated(random, content[:head], SIGNS) + content[head:]}
    )


def _cells(random: Random, folder: Path) -> Trial:
    end = random.choice(ENDS)
    rows = rows_of(files_of(folder)[end])
    column = random.randrange(len(rows[0]))
    text = random.choice(CELLS)
    share = random.choice([0.0, 0.0, 0.01, 0.2, 1.0])
    at = random.randrange(1, len(rows))
    for number, row in enumerate(rows[1:], 1):
        if number == at or random.random() < share:
            row[column] = text
    return data_trial(
        random,
        folder,
        f"{rows[0][column]} of .{end} is {text[:20]!r} in row {at}, and {share}",
        {end: joined(rows)},
    )


def _headers(random: Random, folder: Path) -> Trial:
    end = random.choice(ENDS)
    rows = rows_of(files_of(folder)[end])
    column = random.randrange(len(rows[0]))
    name, _, kind = rows[0][column].partition(":")
    rows[0][column] = random.choice([
        name + random.choice(TYPES), f"{name} :{kind}", f" {name}:{kind}", f"{name.upper()}:{kind}", f":{kind}",
        "", name,
        f"{name}\ufeff:{kind}", f"{name}:{random.choice(['token', 'float', 'token_seq', 'float_seq'])}",
        f'"{name}:{kind}"',
        rows[0][0], f"{name}2:{kind}", "label:float", "a" * 2000 + ":token",
    ])  # fmt: skip
    return data_trial(random, folder, f"header of .{end}: {rows[0]}", {end: joined(rows)})


def _refused(random: Random, folder: Path) -> Trial:
    """What must be refused, whatever the model."""
    files = files_of(folder)
    rows = rows_of(files["inter"])
    at, column = random.randrange(1, len(rows)), random.randrange(3)
    kind = random.randrange(14)
    if kind == 0:
        rows[at][2] = random.choice(["good", "1;5", "five", "1.2.3", "--", "u3"])
        return data_trial(random, folder, f"rating is {rows[at][2]!r} in row {at}", {"inter": joined(rows)}, True)
    if kind == 1:
        rows[0][column] = rows[0][column].partition(":")[0]
        return data_trial(random, folder, f"header {rows[0]}", {"inter": joined(rows)}, True)
    if kind == 2:
        rows[0][column] = rows[0][column].partition(":")[0] + random.choice(
            [":text", ":int", ":tok", ":floats", ":"]
        )
        return data_trial(random, folder, f"header {rows[0]}", {"inter": joined(rows)}, True)
    if kind == 3:
        rows = [row[:column] + row[column + 1 :] for row in rows]
        return data_trial(random, folder, f"no column {column}", {"inter": joined(rows)}, True)
    if kind == 4:
        return data_trial(random, folder, "an empty file", {"inter": b""}, True)
    if kind == 5:
        return data_trial(random, folder, "a header alone", {"inter": joined(rows[:1])}, True)
    if kind == 6:
        content = files["inter"]
        cut = random.randrange(40, len(content))
        return data_trial(
            random, folder, f"NUL at {cut}", {"inter": content[:cut] + b"\0" * 3 + content[cut:]}, True
        )
    if kind == 7:
        sign = random.choice([b"\xff", b"\xe9", b"\xc3", b"\x80"])
        content = files["inter"]
        cut = content.index(b"u", random.randrange(40, len(content) - 30)) + 1
        return data_trial(
            random, folder, f"{sign!r} at {cut}", {"inter": content[:cut] + sign + content[cut:]}, True
        )
    if kind == 8:
        rows[at] += ["7"] * random.choice([1, 2])
        return data_trial(random, folder, f"{len(rows[at])} fields in row {at}", {"inter": joined(rows)}, True)
    if kind == 9:
        rows[0][column] = rows[0][(column + 1) % 3]
        return data_trial(random, folder, f"header {rows[0]}", {"inter": joined(rows)}, True)
    if kind == 10:
        return data_trial(
            random, folder, "another separator", {"inter": joined(rows, random.choice([",", ";", " "]))}, True
        )
    if kind == 11:
        for row in rows[1:]:
            row[2] = random.choice(["1", "2"])
        return data_trial(random, folder, "all labels are equal", {"inter": joined(rows)}, True, model="FM_CEL")
    if kind == 12:
        end = random.choice(FILES)
        return data_trial(random, folder, f"BOM in .{end}", {end: b"\xef\xbb\xbf" + files[end]}, True)
    return data_trial(random, folder, "UTF-16", {"inter": files["inter"].decode().encode("utf-16")}, True)


def _same(random: Random, folder: Path) -> Trial:
    """What changes nothing that counts."""
    files = files_of(folder)
    end = random.choice(FILES)
    content = files[end]
    rows = rows_of(content)
    order = random.sample(range(len(rows[0])), len(rows[0]))
    more = [[*row, "1"] if number else [*row, "other:float"] for number, row in enumerate(rows)]
    what, new = random.choice([
        ("no newline at the end", content.rstrip(b"\n")),
        ("CR LF", content.replace(b"\n", b"\r\n")),
        ("columns in another order", joined([[row[column] for column in order] for row in rows])),
        ("another column", joined(more)),
    ])  # fmt: skip
    return data_trial(random, folder, f".{end}: {what}", {end: new}, same=True)


def _labels(random: Random, folder: Path) -> Trial:
    """Labels that are none, or none that can be learnt."""
    rows = rows_of(files_of(folder)["inter"])
    model = random.choice(["FM_CEL", "DeepFM_CEL", "FM"])
    values = random.choice([
        ["-1", "1"], ["1", "2", "3", "4", "5"], ["0.3", "0.6"], ["0", "2"], ["1"], ["0"], ["0", "1", "nan"],
        ["0", "1", ""], ["0", "1", "inf"], ["yes", "no"], ["0", "1", "1e300"],
    ])  # fmt: skip
    kind = "token" if values[0] == "yes" or random.random() < 0.2 else "float"
    rows = [
        ["user_id:token", "item_id:token", f"label:{kind}"],
        *([*row[:2], random.choice(values)] for row in rows[1:]),
    ]
    columns = {"inter": ["user_id", "item_id", "label"]}
    return data_trial(random, folder, f"labels {values}:{kind}", {"inter": joined(rows)}, True, model=model,
                  load_col=columns, numerical_features=[], threshold=None)  # fmt: skip


def _ratings(random: Random, folder: Path) -> Trial:
    """Ratings of a sign, or with holes, that their models cannot take."""
    rows = rows_of(files_of(folder)["inter"])
    bad = [("NMF_CEL", "-3"), ("NeuNMF_CEL", "-0.5"), ("MF_CEL", "inf"), ("MF_CEL", "x"), ("NMF_CEL", "-inf")]
    model, new = random.choice(bad)
    for row in random.sample(rows[1:], random.choice([1, 9, 400])):
        row[2] = new
    return data_trial(random, folder, f"ratings of {new}", {"inter": joined(rows)}, True, model=model)


def _shapes(random: Random, folder: Path) -> Trial:
    rows = rows_of(files_of(folder)["inter"])
    way = random.randrange(6)
    if way == 0:
        some = [rows[0], *random.sample(rows[1:], random.choice([1, 2, 3, 8, 20]))]
        return data_trial(random, folder, f"{len(some) - 1} interactions", {"inter": joined(some)})
    if way == 1:
        one = random.randrange(2)
        some = [rows[0], *([*row[:one], "x1", *row[one + 1 :]] for row in rows[1:])]
        return data_trial(random, folder, "one user or item", {"inter": joined(some)})
    if way == 2:
        end = random.choice(["user", "item"])
        return data_trial(random, folder, f"no .{end}", {end: None})
    if way == 3:
        end = random.choice(["user", "item"])
        few = rows_of(files_of(folder)[end])[: random.choice([1, 2, 5])]
        return data_trial(random, folder, f"few rows in .{end}", {end: joined(few)})
    if way == 4:
        return data_trial(random, folder, "no .inter", {"inter": None}, True)
    end = random.choice(["user", "item"])
    doubled = rows_of(files_of(folder)[end])
    return data_trial(random, folder, f".{end} with ids twice", {end: joined([*doubled, *doubled[1:9]])})


def _graph(random: Random, folder: Path) -> Trial:
    """A model of a knowledge graph, whose files are broken."""
    triples = [["head_id:token", "relation_id:token", "tail_id:token"]]
    triples += [[f"e{n}", f"r{n % 3}", f"e{(n * 7) % 40}"] for n in range(40)]
    links = [["item_id:token", "entity_id:token"], *([f"i{n}", f"e{n}"] for n in range(40))]
    files = {"kg": joined(triples), "link": joined(links)}
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
    return data_trial(
        random, folder, f".{end} is {files[end][:80]!r}", {**files, "user": None, "item": None}, model="CKE",
        load_col=columns, threshold=None, numerical_features=[], metrics=["NDCG"], valid_metric="NDCG@10",
        topk=[10],
    )  # fmt: skip
