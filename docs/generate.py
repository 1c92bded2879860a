"""Pages of the documentation that are made from the code: ``python docs/generate.py``, or ``--check``."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from recbole_cel.settings import PREFIX, CELSettings
from recbole_cel.strategies import strategies

FOLDER = Path(__file__).parent


def options() -> str:
    """The page of all options."""
    lines = [
        "# Options",
        "",
        "Written by `python docs/generate.py`. All of RecBole's flags, YAML keys and `--key=value` overrides",
        "work, and so do these; a misspelt or ill-valued one is an error that says what would be right, before",
        "any data is loaded. The defaults of the models are in `properties/embedding/cel.yaml` and",
        "`properties/model/*.yaml`.",
        "",
        "| key | default | meaning |",
        "| --- | --- | --- |",
        "| `embedding_strategy` | of the model's name | what takes the place of full tables: "
        + ", ".join(f"`{name}`" for name in sorted(strategies()))
        + " |",
        "| `embedding_budget` | `None` | how large the tables of all fields may be, for any strategy: `20x` (so "
        "many times fewer parameters), `64 rows` (of each table), `100000 parameters`, `2 MB` (bytes in "
        "serving) |",
        *(
            f"| `{PREFIX}{spec.name}` | `{spec.default}` | {spec.metadata['help']} |"
            for spec in fields(CELSettings)
        ),
    ]
    for name, strategy in sorted(strategies().items()):
        lines += [
            f"| `{strategy.prefix}{spec.name}` | `{spec.default}` | {spec.metadata['help']} (`{name}`) |"
            for spec in fields(strategy.Options)
        ]
    return "\n".join(lines) + "\n"


PAGES = {"options.md": options}


def main() -> int:
    """Write the pages, or say which differ."""
    differing = [name for name, page in PAGES.items() if not _is(FOLDER / name, page())]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"docs/{name} is out of date: python docs/generate.py" for name in differing))
        return 1 if differing else 0
    for name in differing:
        (FOLDER / name).write_text(PAGES[name]())
    return 0


def _is(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
