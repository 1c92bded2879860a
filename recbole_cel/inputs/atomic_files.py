"""All atomic files that a run will load, checked before RecBole reads them."""

from __future__ import annotations

import os
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from ..options import SettingError
from .columns import ColumnCheck, FloatLists, Floats, Ids, IdsOnce, Tokens
from .header import Column, read_header
from .named_columns import check_named
from .needs import chosen_columns, id_fields, is_asked_for, is_loaded, listing, needs_time, target_field
from .rows import AtomicRows, check_separator
from .text import check_text, fault

# Numbers of features that are beyond this are pointed out.
LARGE = 100.0


def check_atomic_files(config: Any) -> int:
    """Read each file that the run will load, and check it. Missing numbers of features are counted in the log.

    Returns:
        The number of interactions.

    Raises:
        SettingError: at the first thing that is wrong: which file, line and column, and what would be right.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    parts = _benchmark_parts(config)
    paths = [folder / f"{name}.{part}.inter" for part in parts] if parts else [folder / f"{name}.inter"]
    loaded = [_check_file(config, path, "inter") for path in paths]
    for path, (of_part, _) in zip(paths, loaded):
        if of_part != loaded[0][0]:
            raise fault(path, f"must have the columns of {paths[0].name}, which are loaded with it", 1)
    columns = list(loaded[0][0])
    for kind in ("user", "item"):
        path = folder / f"{name}.{kind}"
        # A link to nothing is there, too.
        if os.path.lexists(path) and is_loaded(config, kind):
            columns += _check_file(config, path, kind)[0]
        elif is_asked_for(config, kind):
            raise SettingError("load_col", f"names columns of .{kind}, but there is no {path}")
    further = config["additional_feat_suffix"] or []
    if not isinstance(further, list) or not all(isinstance(kind, str) for kind in further):
        raise SettingError(
            "additional_feat_suffix", f"must list suffixes of files, such as [net], got {further!r}"
        )
    if config["MODEL_TYPE"] == ModelType.KNOWLEDGE:
        further = [*further, "kg", "link"]
    for kind in further:
        columns += _check_file(config, folder / f"{name}.{kind}", kind)[0]
    check_named(config, [column.name for column in columns])
    return sum(rows for _, rows in loaded)


def _benchmark_parts(config: Any) -> list[str] | None:
    parts = config["benchmark_filename"]
    if parts is None:
        return None
    if not isinstance(parts, (list, tuple)) or len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise SettingError(
            "benchmark_filename", f"must list the three parts, such as [train, valid, test], got {parts!r}"
        )
    return list(parts)


def _check_file(config: Any, path: Path, kind: str) -> tuple[list[Column], int]:
    """Check one file; the columns of it that RecBole loads, and the number of its rows."""
    if not os.path.lexists(path):
        raise SettingError("dataset", f"is {config['dataset']}, but there is no {path}")
    if not path.is_file():
        raise fault(path, "is no file")
    encoding = "utf-8" if config["encoding"] is None else config["encoding"]
    separator = check_separator(config["field_separator"])
    check_text(path, encoding)
    header = read_header(path, encoding, separator)
    columns = {column.name: column for column in header}
    chosen = chosen_columns(config, kind, list(columns))
    ids = id_fields(config, kind)
    if not is_loaded(config, kind):
        raise SettingError("load_col", f"leaves out .{kind}; it must name {', '.join(ids) or 'its columns'}")
    for field, option in ids.items():
        _check_column(path, columns, chosen, field, option, "token")
    needed = _needed_numbers(config) if kind == "inter" else {}
    for field, option in needed.items():
        _check_column(path, columns, chosen, field, option, "float")

    checks = {name: _check_of(config, columns[name], name in ids, kind) for name in chosen}
    rows = AtomicRows(path, encoding, separator, list(columns))
    count = rows.check(checks)
    if not count:
        raise fault(path, "has a header but no rows")
    for name, check in checks.items():
        _point_out(config, path, name, check)
        if not check.missing or not isinstance(check, Floats):
            continue
        missing = f"{check.missing} of {count} values are missing"
        if name in needed or (kind == "inter" and name == config["RATING_FIELD"]):
            raise fault(
                path,
                f"{missing}, here the first; every row needs it, so leave these rows out",
                check.first_missing,
                name,
            )
        if check.missing == count:
            raise fault(
                path, "all values are missing; leave the column out, or out of load_col", check.first_missing, name
            )
        getLogger().warning(f"{path}, column {name}: {missing}; RecBole fills them with the mean")
    return [columns[name] for name in chosen], count


def _point_out(config: Any, path: Path, name: str, check: ColumnCheck) -> None:
    """What is no error, but may surprise."""
    if isinstance(check, IdsOnce) and check.repeated:
        getLogger().warning(
            f"{path}, column {name}: {check.repeated} rows are of ids that have one already, the first of them in "
            f"line {check.first_repeated}; RecBole keeps the first row of each id"
        )
    scaled = config["normalize_all"] or name in (config["normalize_field"] or ())
    is_feature = name in (config["numerical_features"] or ()) and name not in (config["discretization"] or {})
    if isinstance(check, Floats) and is_feature and not scaled and check.largest > LARGE:
        getLogger().warning(
            f"{path}, column {name}: numbers up to {check.largest:g} are multiplied with rows as they are, which "
            f"few models learn from; --normalize_field=['{name}'] brings them to 0..1"
        )


def _needed_numbers(config: Any) -> dict[str, str]:
    """Columns of interactions that must be numbers in every row, with what needs them."""
    needed = {}
    time = needs_time(config)
    if time is not None:
        if not config["TIME_FIELD"]:
            raise SettingError("TIME_FIELD", f"must name a column of times: {time} needs it")
        needed[config["TIME_FIELD"]] = f"TIME_FIELD (for {time})"
    target = target_field(config)
    if target is not None:
        needed[target[0]] = target[1]
    return needed


def _check_column(
    path: Path, columns: dict[str, Column], chosen: list[str], field: str, option: str, kind: str
) -> None:
    label = "; name the column of labels, or set a threshold such as {rating: 4} that makes them"
    hint = label if option == "LABEL_FIELD" else ""
    if field not in columns:
        raise fault(path, f"the {option} {field} is missing; there are {listing(field, columns)}{hint}", 1)
    if field not in chosen:
        raise SettingError(
            "load_col", f"and unload_col must let {field} of {path.name} be loaded: it is the {option}"
        )
    if columns[field].type != kind:
        wrong = f"is of type {columns[field].type}, but is the {option} and must be of type {kind}"
        raise fault(path, wrong, 1, field)


def _check_of(config: Any, column: Column, is_id: bool, kind: str) -> ColumnCheck:
    if is_id:
        return IdsOnce() if kind in ("user", "item") else Ids()
    if column.type == "float":
        return Floats()
    if column.type == "token":
        return Tokens()
    separator = config["seq_separator"]
    if separator == "" or not isinstance(separator, (str, type(None))):
        raise SettingError("seq_separator", f"must be text, such as a space, got {separator!r}")
    if separator == config["field_separator"]:
        raise SettingError("seq_separator", "and field_separator must differ")
    return FloatLists(separator) if column.type == "float_seq" else ColumnCheck()
