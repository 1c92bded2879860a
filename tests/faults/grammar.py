"""What faults are made of: odd texts and values, bytes that change, and planted code."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from .trial import MARKER

CODE = f"__import__('pathlib').Path('{MARKER}').touch()"
TEXTS = [
    *("", " ", "None", "nan", "inf", "-inf", "1e999", "True", "yes", "0x10", "1_000", "٣", "é", "\u202e", "a b"),
    *("[", "]", "{}", "[]", "()", "(1,)", "{1: 2}", "{'a': 1, 'a': 2}", "[[[]]]", "{1,2}", "b'x'", "1j", "..."),
    *("'", '"'),
    *("../../etc/passwd", "/dev/zero", "/dev/stdin", "a\0b", "a\nb", "x" * 5000, "9" * 5000, "[" * 3000, "-" * 9),
    *("!!python/name:os.system", "${HOME}", "%s%n", "~", "user_id", "item_id", "rating", "uni100", "AUC", "full"),
    *("labeled", "lambda: 0"),
    *(CODE, f"[{CODE}]", f"{{'a': {CODE}}}", f"({CODE})", f"open('{MARKER}', 'w')", f"exec(\"{CODE}\")"),
]  # fmt: skip
# Values that one option or the other may have.
EDGES = [
    *(0, 1, 2, 3, 5, 7, 16, 64, 100, 1000, 4096, 65536, 0.0, 1e-9, 0.01, 0.5, 1.0, 2.5, 1e3, 1e9, 1e300),
    *(True, False, None, "adam", "sgd", "rmsprop", "adagrad", "info", "uniform", "BPR", "first", "last", "relu"),
    *([8], [1], [3, 5], [64, 32], ["size"], ["user_id"], ["user_id", "item_id"], ["age"], ["AUC"]),
    ["LogLoss", "AUC"],
    *("20x", "8 rows", "500 parameters", "1 kB", "[5,inf)", "[1,3];(4,9]", {"rating": 4}, {"age": 5}, "x", "auto"),
    *("interactions", "members", "loss", "median", "zero", {"inter": ["user_id", "item_id", "rating"]}),
    *({"max_norm": 1}, {"rating": "[2,5]"}),
]  # fmt: skip


class Evil:
    """Unpickling it makes the marker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (CODE,)


def value(random: Random, depth: int = 0) -> Any:
    """Any value that YAML can have."""
    way = random.randrange(10 if depth < 3 else 8)
    if way == 0:
        return random.choice([None, True, False])
    if way in (1, 2):
        return random.choice([0, 1, -1, 2, 3, 16, 255, 10**4, 2**31, -(2**63), 2**64, 10**30, 10**400])
    if way in (3, 4):
        return random.choice([0.0, -0.0, 0.5, 1.5, -1e-9, 1e-300, 1e300, math.nan, math.inf, -math.inf])
    if way < 8:
        return random.choice(TEXTS)
    some = range(random.randrange(4))
    if way == 8:
        return [value(random, depth + 1) for _ in some]
    names = ["rating", "inter", "valid", "split", "mode", "user_id", 1, None, "x"]
    return {random.choice(names): value(random, depth + 1) for _ in some}


def mutated(random: Random, content: bytes, signs: list[bytes]) -> bytes:
    """``content`` with some of its bytes cut, changed, repeated or with others in between."""
    for _ in range(random.choice([1, 1, 2, 5])):
        at, to = sorted(random.randrange(len(content) + 1) for _ in range(2))
        to = min(to, at + random.choice([0, 1, 1, 3, 20]))
        new = random.choice([b"", random.choice(signs), bytes([random.randrange(256)]), content[at:to] * 2])
        content = content[:at] + new + content[to:]
    return content
