"""The words of the command line, and what is said at the end."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..options import SettingError, shown
from ..runs.signals import stoppable
from .conversion import Done, Wish, convert
from .formats import FORMATS

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Not proposed for a first model: nearly each user or item has one of its own, or prices are missing.
NO_FEATURES = ("movie_title", "title", "zip_code", "price")
ENDS = (".gz", ".zip", ".json", ".jsonl", ".csv")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError("the command line", f"cannot be read: {message}; see --help")


class _Once(argparse.Action):
    """An option that is given once at the most."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: object, option_string: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise SettingError(f"--{self.dest}", "is given twice; give it once")
        setattr(namespace, self.dest, values)


@stoppable()
def main(words: Sequence[str] | None = None) -> int:
    """Convert raw files as the command line says.

    Args:
        words: the command line without the program; by default that of the process.

    Returns:
        The exit code: 0, 2 at bad input, 1 where the machine fails, 130 or 143 if stopped.
    """
    try:
        wish = read(sys.argv[1:] if words is None else words)
        print(_said(wish, convert(wish)))
    except SettingError as error:
        return _say(str(error), BAD_INPUT)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _say(f"{where}{error.strerror or error}", FAILED)
    except KeyboardInterrupt as stop:
        return _say("stopped; no incomplete data set is left", getattr(stop, "code", INTERRUPTED))
    return 0


def read(words: Sequence[str]) -> Wish:
    """What the command line asks for.

    Raises:
        SettingError: at the first word that is wrong.
        SystemExit: after the help that was asked for.
    """
    given = _parser().parse_args(list(words))
    if given.format not in FORMATS:
        near = difflib.get_close_matches(given.format, FORMATS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingError("FORMAT", f"must be one of {', '.join(FORMATS)}, got {shown(given.format)}{hint}")
    format, source = FORMATS[given.format], Path(given.source)
    if given.items is not None and "item" not in format.parts:
        raise SettingError("--items", f"must be left out: {given.format} has no file of items")
    if given.items is not None and not Path(given.items).is_file():
        raise SettingError("--items", f"is {given.items}, but there is no such file")
    name = given.name or format.name or _stem(source)
    if not NAME.fullmatch(name):
        raise SettingError("--name", f"must be letters, digits, dots, dashes and underscores, got {shown(name)}")
    items = None if given.items is None else Path(given.items)
    return Wish(format, source, Path(given.output or "dataset"), name, items, given.overwrite)


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name.ljust(20)} {format.help}" for name, format in FORMATS.items())
    parser = _Parser(
        prog="python -m recbole_cel.convert",
        description="Convert raw MovieLens or Amazon files to RecBole's atomic files, checking each line.",
        epilog=f"formats:\n{listing}\n\nAny file may be compressed by gzip.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("format", metavar="FORMAT", help="what the raw files are; see below")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder or zip archive of the raw files, or the file of ratings or reviews",
    )
    parser.add_argument("--output", action=_Once, metavar="FOLDER", help="folder of data sets (default: dataset)")
    parser.add_argument(
        "--name",
        action=_Once,
        metavar="DATASET",
        help="name of the data set (default: of the format, or of SOURCE)",
    )
    parser.add_argument("--items", action=_Once, metavar="FILE", help="items' metadata, where it is not in SOURCE")
    parser.add_argument("--overwrite", action="store_true", help="replace atomic files that are there already")
    return parser


def _stem(source: Path) -> str:
    name = source.resolve().name
    while name.endswith(ENDS):
        name = name.rpartition(".")[0]
    return name


def _said(wish: Wish, done: Done) -> str:
    wide = max(len(name) for name, _ in done.lines)
    lines = [f"{name.ljust(wide)}  {value}" for name, value in done.lines]
    fields = {"inter": ["user_id", "item_id", "rating"], **done.fields}
    fields = {kind: [name for name in names if name not in NO_FEATURES] for kind, names in fields.items()}
    columns = ",".join(f"'{kind}':[{','.join(map(repr, names))}]" for kind, names in fields.items())
    following = [
        "python -m recbole_cel --model=DeepFM_CEL",
        f"--dataset={wish.name}",
        f"--data_path={_quoted(str(wish.output))}",
        f'--load_col="{{{columns}}}"',
        "--threshold=\"{'rating':4}\"",
    ]
    return "\n".join([f"written to {done.folder}", *lines, "", "next:", " ".join(following)])


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w./~-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def _say(line: str, code: int) -> int:
    print(f"recbole_cel: {' '.join(line.split())}", file=sys.stderr)
    return code
