"""The small data set with files of one's own, up to where training would begin or through a whole run."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from . import tiny_runs
from .trial import Trial, unless_finite

FILES = "inter", "user", "item"


def files_of(folder: Path) -> dict[str, bytes]:
    return {end: (folder / "data" / "tiny" / f"tiny.{end}").read_bytes() for end in FILES}


def rows_of(content: bytes) -> list[list[str]]:
    return [line.split("\t") for line in content.decode().splitlines()]


def joined(rows: list[list[str]], separator: str = "\t", line: str = "\n") -> bytes:
    return (line.join(separator.join(row) for row in rows) + line).encode()


def data_trial(
    random: Random, folder: Path, what: str, files: dict[str, bytes | None], refused: bool | None = None,
    same: bool = False, model: str | None = None, **given: Any,
) -> Trial:  # fmt: skip
    name = model or random.choice(["FM_CEL", "FM_CEL", "DeepFM_CEL", "MF_CEL", "FM"])
    runs = random.random() < 0.25

    def call() -> Any:
        place = Path("data/tiny")
        place.mkdir(parents=True)
        for end, content in {**files_of(folder), **files}.items():
            if content is not None:
                (place / f"tiny.{end}").write_bytes(content)
        options = {**tiny_runs.options(Path("data").resolve(), name), **given}
        if runs:
            return tiny_runs.run(name, options)
        return tiny_runs.until_training(name, options)

    def wrong(result: Any) -> str | None:
        if isinstance(result, dict):
            return unless_finite(result)
        if same and name == "FM_CEL" and digest(result) != (folder / "digest").read_text():
            return "the data differ"
        return _holes(result)

    return Trial(f"{name}: {what}", call, False if same else refused, wrong)


def digest(reached: Any) -> str:
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
