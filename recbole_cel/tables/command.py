"""Command line: ``python run_tables.py TABLE... [--quick]``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from tabulate import tabulate

from ..__main__ import FAILED, in_one_line
from ..config import TABLES, properties_folder
from ..options import SettingError
from ..runs.files import check_folders, written_whole
from ..runs.signals import say_when_stopped, stoppable
from . import check, picture
from .cache import Cache
from .data_sets import DataSet, find
from .layout import sheets
from .plan import Cell, Outcome, cells, with_threads
from .progress import run_cells, say
from .render import as_csv, latex, markdown, picture_name, source_of
from .spec import Table, file_of, names, read_table

ALL = "all"
OUTPUT, CACHE, QUICK = "results", "cache", "quick"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong as all else that is wrong is said."""
        raise SettingError("command line:", f"{message}; --help shows what there is")


@stoppable()
def main(words: Sequence[str] | None = None) -> int:
    """Make tables; gives the exit code, 1 also where a check finds a cell that is not as it was."""
    failed = list[bool]()
    say_when_stopped("jobs that were finished are kept; the same command goes on from there")
    code = in_one_line(lambda: failed.append(not _run(sys.argv[1:] if words is None else words)))
    return code or (FAILED if any(failed) else 0)


def _parser() -> _Parser:
    parser = _Parser(
        prog="run_tables.py", description="Make tables of many runs, as properties/tables/*.yaml say."
    )
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE", help=f"names such as {', '.join(names())}, {ALL}, or YAML files")
    add(
        "--quick",
        action="store_true",
        help="the shape of each table, in minutes, on ml-100k; numbers mean nothing",
    )
    add("--list", action="store_true", help="show the tables, with their jobs and how many of these are kept")
    add("--dry-run", action="store_true", help="show what would be run")
    add("--check", type=int, metavar="N", help="run N cells of each table again, and compare")
    add("--data_path", metavar="FOLDER", help="where the folders of data sets are (default: dataset)")
    add("--datasets", nargs="+", metavar="NAME", help="only these of a table's data sets")
    add("--rows", nargs="+", metavar="PATTERN", help="only rows whose labels are like one of these, as 'FM *'")
    add("--seeds", nargs="+", type=int, metavar="SEED", help="in the place of a table's seeds")
    add("--threads", type=int, metavar="N", help="threads of a job, in the place of a table's")
    add("--jobs", type=int, metavar="N", help="jobs at once (default: as many as there are cores)")
    add("--output", default=OUTPUT, metavar="FOLDER", help=f"where tables and results go (default: {OUTPUT})")
    return parser


def _run(words: Sequence[str]) -> bool:
    args = _parser().parse_args(list(words))
    for name in ("jobs", "threads", "check"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise SettingError(f"--{name}", f"must be an integer >= 1, got {getattr(args, name)}")
    chosen = args.tables or ([ALL] if args.quick or args.list else [])
    if not chosen:
        raise SettingError("command line:", f"which table? {', '.join(names())}, or {ALL}; --list shows them")
    files = names() if ALL in chosen else chosen
    for name in files:
        file_of(name)
    # All are read before anything is run: what is wrong in the last shall not show after hours.
    tables = [_as_asked(read_table(name, args.quick), args) for name in dict.fromkeys(files)]
    output = Path(args.output, QUICK) if args.quick else Path(args.output)
    cache = Cache(Path(args.output, CACHE))
    looking = args.list or args.dry_run
    data = _data_sets(tables, args.data_path, fetched=not looking)
    of_tables = [cells(table, data[table.name]) for table in tables]
    if looking:
        print(_listed(tables, of_tables, cache) if args.list else _planned(of_tables, cache))
        return True
    number = args.jobs or os.cpu_count() or 1
    if args.check:
        return _check(tables, of_tables, output, args.check, number)
    check_folders({"--output": args.output})
    written: dict[str, str] = {}

    def write_finished(known: dict[str, Any]) -> None:
        # As soon as a table is complete: those after it may take hours.
        for table, of_table in zip(tables, of_tables):
            if table.name not in written and of_table and not any(cell.left(known) for cell in of_table):
                outcomes = [cell.outcome(known) for cell in of_table]
                written[table.name] = write(table, outcomes, output, _command(table, args))

    all_cells = [cell for of_table in of_tables for cell in of_table]
    write_finished(run_cells(all_cells, cache, number, after=write_finished))
    print("\n".join(written[table.name] for table in tables if table.name in written))
    return True


def _as_asked(table: Table, args: argparse.Namespace) -> Table:
    table = with_threads(table, args.threads)
    if args.seeds:
        if len({*args.seeds}) < len(args.seeds) or min(args.seeds) < 0:
            raise SettingError("--seeds", f"must be different integers >= 0, got {args.seeds}")
        table = replace(table, seeds=args.seeds)
    if args.rows:
        for pattern in args.rows:
            if not any(fnmatchcase(row.label, pattern) for row in table.rows):
                few = ", ".join(row.label for row in table.rows[:5])
                raise SettingError("--rows", f"holds {pattern!r}, like none of {table.name}: {few}, ...")
        some = [row for row in table.rows if any(fnmatchcase(row.label, pattern) for pattern in args.rows)]
        table = replace(table, rows=some)
    if args.datasets:
        # Sets that a table does not name are run, too, if they have its protocol.
        table = replace(table, datasets=list(dict.fromkeys(args.datasets)))
    return table


def _data_sets(tables: Sequence[Table], data_path: str | None, fetched: bool) -> dict[str, dict[str, DataSet]]:
    """The data sets of each table that are there, by table and name; one line for each that is not."""
    found: dict[tuple[str, str], DataSet | None] = {}
    said = set[str]()
    for table in tables:
        for name in table.datasets:
            if (name, table.protocol) in found:
                continue
            try:
                found[name, table.protocol] = find(name, table.protocol, table.folder, data_path, fetched)
            except SettingError as error:
                found[name, table.protocol] = None
                line = " ".join(str(error).split())
                if line not in said:
                    print(f"recbole_cel: left out: {line}", file=sys.stderr)
                said.add(line)
    present = {key: data for key, data in found.items() if data is not None}
    if not present:
        raise SettingError("--data_path", f"must name a folder with one of {', '.join(name for name, _ in found)}")
    return {
        table.name: {
            name: present[name, table.protocol] for name in table.datasets if (name, table.protocol) in present
        }
        for table in tables
    }


def _known(of_cells: Sequence[Cell], cache: Cache) -> dict[str, Any]:
    """All kept results that some cells need."""
    known: dict[str, Any] = {}
    for cell in of_cells:
        before = -1
        while before < len(known):
            before = len(known)
            for key, _ in cell.jobs(known):
                if key not in known and (kept := cache.get(key)) is not None:
                    known[key] = kept
    return known


def _listed(tables: Sequence[Table], of_tables: Sequence[Sequence[Cell]], cache: Cache) -> str:
    lines = [
        [
            table.name,
            table.title,
            ", ".join(dict.fromkeys(cell.data.name for cell in of_table)) or "-",
            len(of_table),
            sum(cell.at_most for cell in of_table),
            len(_known(of_table, cache)),
        ]
        for table, of_table in zip(tables, of_tables)
    ]
    return tabulate(lines, headers=["table", "", "data", "cells", "jobs", "kept"])


def _planned(of_tables: Sequence[Sequence[Cell]], cache: Cache) -> str:
    lines = list[list[object]]()
    for of_table in of_tables:
        known = _known(of_table, cache)
        for cell in of_table:
            kept = sum(key in known for key, _ in cell.jobs(known))
            what = cell.reason or f"{len(cell.trials)} trials, {len(cell.seeds)} seeds"
            lines.append([cell.table.name, cell.data.name, cell.row.label, what, cell.at_most, kept])
    return tabulate(lines, headers=["table", "data", "row", "runs", "jobs", "kept"], disable_numparse=True)


def _check(
    tables: Sequence[Table], of_tables: Sequence[Sequence[Cell]], output: Path, cells_each: int, number: int
) -> bool:
    pairs = [
        pair
        for table, of_table in zip(tables, of_tables)
        for pair in check.pick(check.read(output / f"{table.name}.csv", table), of_table, cells_each)
    ]
    if not pairs:
        raise SettingError("--check", "finds no cell that the tables and their files have in common")
    # What is kept would only say what it said before.
    with tempfile.TemporaryDirectory(prefix="recbole_cel-") as folder:
        known = run_cells([cell for _, cell in pairs], Cache(Path(folder)), number)
    return check.compare([(kept, cell.outcome(known)) for kept, cell in pairs], print)


def _command(table: Table, args: argparse.Namespace) -> str:
    own = table.folder != properties_folder() / TABLES
    words = [
        "python run_tables.py",
        f"{table.name}.yaml" if own else table.name,
        *(["--quick"] if args.quick else []),
    ]
    for name in ("datasets", "rows", "seeds", "threads"):
        value = getattr(args, name)
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *(shlex.quote(str(one)) for one in values)]
    if any(data != "ml-100k" for data in table.datasets):
        words.append("--data_path FOLDER")
    return " ".join(words)


def write(table: Table, outcomes: Sequence[Outcome], output: Path, command: str) -> str:
    """Write a table in all forms; gives its short form."""
    of_table, source = sheets(table, outcomes), source_of(command, table.seeds, outcomes)
    texts = {
        "csv": as_csv(table, outcomes, source),
        "md": markdown(table, of_table, source),
        "tex": latex(table, of_table, source),
    }
    for ending, text in texts.items():
        with written_whole(output / f"{table.name}.{ending}") as file:
            file.write(text.encode())
    brief = markdown(table, of_table, source, brief=True)
    empty = sum(outcome.reason is not None and bool(outcome.cell.row.model) for outcome in outcomes)
    if empty:
        brief += f"\n{empty} of {len(outcomes)} rows stay empty; {output / table.name}.md says why.\n"
    if table.pictures and not picture.can_draw():
        say(picture.MISSING)
        return brief
    for one in table.pictures:
        for name in dict.fromkeys(sheet.data for sheet in of_table):
            path = output / picture_name(table, one, name)
            of_data = [outcome for outcome in outcomes if outcome.cell.data.name == name]
            if not picture.draw(table, one, of_data, path, " ".join(source.lines())):
                say(f"{path}: no value to draw")
    return brief
