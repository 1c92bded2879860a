"""Options in files and on the command line: given twice, grown, mutated, or code."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from random import Random
from typing import Any

from recbole_cel import __main__ as program
from recbole_cel import quick_start
from recbole_cel.config import Config
from recbole_cel.inputs import command_line, keys

from .grammar import CODE, TEXTS, mutated, value
from .trial import MARKER, Trial

SIGNS = [
    *(
        b":",
        b"-",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!",
        b"!!python/name:os.system ",
        b"|",
        b">",
        b"%",
        b"#",
    ),
    *(b"\t", b"\n", b" ", b"'", b'"', b"\0", b"\xff", b"\xc3\xa9", b"<<: ", b"? ", b"---\n", b"...\n", b"9" * 40),
    b"\xef\xbb\xbf",
]
YAMLS = [
    "epochs: 1\nlearning_rate: 1e-3\nload_col:\n  inter: [user_id, item_id, rating]\nmetrics: [AUC]\n",
    "eval_args:\n  split: {RS: [0.8, 0.1, 0.1]}\n  order: RO\n  group_by: ~\n  mode: labeled\nseed: 7\n",
    "cel_levels: 2\ncel_folds: 4\ncel_max_clusters: {user_id: 4, item_id: 5}\nembedding_budget: 20x\n",
    "base: &b {a: 1}\nthreshold: {rating: 4}\nnote: [*b, <<]\nnothing: null\n'quoted': \"x\\ty\"\n",
]


@functools.cache
def all_keys() -> list[str]:
    """Names of all options."""
    return sorted(keys.known_keys())


@functools.cache
def own_keys() -> list[str]:
    """Names of ours."""
    return [key for key in all_keys() if key.startswith("cel_") and key != "cel_resume"]


def twice(random: Random, folder: Path) -> Trial:
    key = random.choice(all_keys())
    one, other = random.choice(["1", "2", "x", "[1]"]), random.choice(["1", "3", "y"])
    if random.random() < 0.5:
        name = random.choice([key, "model", "dataset", "nproc"])
        between = random.sample(["--topk=3", "--cel_levels=2", "-dtiny"], random.randrange(3))
        between = [word for word in between if name not in word and not (name == "dataset" and word[:2] == "-d")]
        return of_words(folder, [f"--{name}={one}", *between, f"--{name}={other}"], refused=True)
    quote = random.choice(["", "'", '"'])
    lines = [f"{key}: {one}", "note: 1", f"{quote}{key}{quote}: {other}"]
    if random.random() < 0.4:
        lines = ["outer:", *(f"  {line}" for line in lines)]
    return of_file("\n".join(lines).encode(), refused=True)


def mutated_yaml(random: Random, folder: Path) -> Trial:
    return of_file(mutated(random, random.choice(YAMLS).encode(), SIGNS))


def grown_yaml(random: Random, folder: Path) -> Trial:
    many, deep = random.randrange(9, 12), random.randrange(7, 30)
    names = [f"n{number}" for number in range(deep)]
    content = random.choice([
        "n: &n0 [" + "x," * many + "]\n" + "".join(
            f"{b}: &{b} [{','.join([f'*{a}'] * many)}]\n" for a, b in zip(names, names[1:])),
        "n: &n0 {x: 1}\n" + "".join(
            f"{b}: &{b} {{{', '.join(f'k{i}: *{a}' for i in range(many))}}}\n" for a, b in zip(names, names[1:])),
        "a: " + "[" * random.randrange(30, 9000),
        "a: " + "{b: " * random.randrange(30, 9000),
        "".join(" " * number + "a:\n" for number in range(random.randrange(30, 400))),
        "a: &a [1, *a]", "a: &a {b: [*a]}", "&a\nb: 1\nc: {d: *a}",
        "a: [" + "1," * random.randrange(20_001, 60_000) + "]",
        "a: " + "x" * random.randrange(132_000, 10**6),
        f"{random.randrange(9)}: 1", "~: 1", "[a]: 1", "true: 1", "1.5: 1",
        f"a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{MARKER}]]",
        f"a: !!python/object/apply:os.system ['touch {MARKER}']", f"!!python/object/new:eval [\"{CODE}\"]: 1",
        f"a: !!python/object/apply:builtins.exec [\"{CODE}\"]",
    ])  # fmt: skip
    return of_file(content.encode(), refused=True)


def of_file(content: bytes, refused: bool | None = None) -> Trial:
    def call() -> Any:
        file = Path("options.yaml")
        file.write_bytes(content)
        return Config("FM_CEL", "tiny", [str(file)], command_line=False)

    return Trial(f"a file of {content[:300]!r}", call, refused)


def some_words(random: Random, folder: Path) -> Trial:
    flags = [*command_line.FLAGS, *own_keys(), *random.sample(all_keys(), 20)]
    words = []
    for _ in range(random.choice([1, 1, 2, 3])):
        name = random.choice(flags)
        if random.random() < 0.2:
            name = mutated(random, name.encode(), [b"-", b"_", b".", b" ", b"="]).decode(errors="surrogateescape")
        text = random.choice([*TEXTS, str(value(random))])
        dashes = random.choice(["--"] * 8 + ["-", "", "---", "—"])
        words += random.choice(
            [[f"{dashes}{name}={text}"]] * 6 + [[f"{dashes}{name}", text], [f"{dashes}{name}"], [text]]
        )
    return of_words(folder, words)


def of_words(folder: Path, words: list[str], refused: bool | None = None, whole: bool = False) -> Trial:
    def configured(model: str, dataset: str, files: list[str] | None, **options: Any) -> Any:
        return Config(model, dataset, files)

    def call() -> Any:
        if not whole:
            quick_start.run = configured  # type: ignore[assignment]
        sys.argv = ["faults", *words]
        return program._run(command_line.read(words))

    return Trial(f"words {words!r}", call, refused)
