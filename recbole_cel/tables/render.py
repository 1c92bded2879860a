"""Sheets as Markdown and LaTeX, and all that was found as CSV."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .layout import PAPER, Sheet, Shown, paper_value, values_of
from .plan import Outcome
from .spec import SIZES, Table
from .statistics import spread

LATEX = {
    **{"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$"},
}


# Names of columns in CSV, before those of the table and after.
FIRST = ["table", "dataset", "row", "model", "strategy", "options", "chosen", "trials", "seeds", "validation"]
LAST = ["clusters", "seconds", "epochs", "reason", "threads", "machine", "commit", "command"]


@dataclass(frozen=True)
class Source:
    """Where the numbers of a table are from.

    Attributes:
        command: that makes it again.
        seeds: that the means are over.
        threads: of a run.
        machines: on which it ran.
        commits: of the code that ran.
        versions: of libraries.
    """

    command: str
    seeds: list[int]
    threads: list[int]
    machines: list[str]
    commits: list[str]
    versions: list[str]

    def lines(self) -> list[str]:
        """In words."""
        over = "one seed" if len(self.seeds) == 1 else f"mean ± standard deviation over {len(self.seeds)} seeds"
        return [
            f"Made by: {self.command}",
            f"Test metrics, {over}, which change the split too: {', '.join(map(str, self.seeds))}; options are "
            "chosen on the validation split of the first.",
            f"Threads a run: {_listed(self.threads)}; machine: {_listed(self.machines)}; code: "
            f"{_listed(self.commits)}; {_listed(self.versions)}.",
        ]


def source_of(command: str, seeds: list[int], outcomes: Iterable[Outcome]) -> Source:
    """What the runs of some outcomes say of themselves."""
    runs = [run for outcome in outcomes for run in outcome.runs]
    return Source(
        command,
        seeds,
        sorted({run["threads"] for run in runs}),
        sorted({run["machine"] for run in runs}),
        sorted({run["commit"] or "no checkout" for run in runs}),
        sorted({", ".join(f"{name} {version}" for name, version in run["versions"].items()) for run in runs}),
    )


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values)) or "-"


def legend(table: Table, sheets: Sequence[Sheet]) -> list[str]:
    """What the marks in the sheets mean."""
    cells = [cell for sheet in sheets for _, of_row in sheet.rows for cell in of_row]
    lines = []
    if any(cell.place for cell in cells):
        lines.append("Bold is the best of a column, underlined the second best.")
    if any(cell.mark for cell in cells):
        of = "of the best rival" if any(row.ours for row in table.rows) else "of the second best"
        lines.append(f"* p < .05 and ** p < .01 in the paired t-test over seeds, against that {of}.")
    if any(column.kind == "size" for column in table.columns):
        lines.append("kB are of the tables of users and items, codes and scalars of every id included.")
    return lines


def markdown(table: Table, sheets: Sequence[Sheet], source: Source, brief: bool = False) -> str:
    """A page of Markdown; ``brief`` leaves all but the sheets out."""
    lines = [f"# {table.title}", ""]
    if table.quick:
        lines += ["A quick run: it shows the shape of the table, and its numbers mean nothing.", ""]
    if table.note and not brief:
        lines += [table.note.strip(), ""]
    for sheet in sheets:
        lines += [f"## {sheet.title}", "", _markdown_row(["", *sheet.headers])]
        lines.append(_markdown_row(["---", *["---:"] * len(sheet.headers)]))
        lines += [_markdown_row([_cell(label), *map(_markdown_cell, cells)]) for label, cells in sheet.rows]
        lines.append("")
        for note in sheet.notes:
            lines += [note, ""]
        if sheet.reasons and not brief:
            lines += ["Empty:", ""]
            lines += [f"- {reason}: {'; '.join(labels)}" for reason, labels in _by_reason(sheet)]
            lines.append("")
    if not brief:
        first, columns = (sum(sheet.won[part] for sheet in sheets) for part in (0, 1))
        if columns:
            lines += [
                f"Ours are first, or share the first place, in {first} of {columns} columns with a rival.",
                "",
            ]
        lines += [f"{_starred(line)}\n" for line in legend(table, sheets)]
        lines += [f"Made by: `{source.command}`\n", *(f"{_starred(line)}\n" for line in source.lines()[1:])]
        data = dict.fromkeys(sheet.data for sheet in sheets)
        lines += ["Bars in the pictures are standard errors.\n"] if table.pictures else []
        lines += [
            f"![{one['y_label']}, {name}]({picture_name(table, one, name)}.svg)\n"
            for name in data
            for one in table.pictures
        ]
    return "\n".join(lines).rstrip() + "\n"


def picture_name(table: Table, picture: dict[str, str], data: str) -> str:
    """Name of a picture's files on one data set, without what they end in."""
    return "-".join(part for part in (table.name, picture.get("name"), data) if part)


def _by_reason(sheet: Sheet) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for label, reason in sheet.reasons:
        found.setdefault(reason, []).append(label)
    return list(found.items())


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _markdown_cell(cell: Shown) -> str:
    number = _cell(_number(cell))
    if cell.place == 1:
        number = f"**{number}**"
    elif cell.place == 2:
        number = f"<u>{number}</u>"
    return number + _starred(cell.mark)


def _starred(text: str) -> str:
    """``text`` whose stars are not taken for emphasis."""
    return text.replace("*", r"\*")


def _number(cell: Shown) -> str:
    if cell.mean is None:
        return cell.text
    text = f"{cell.mean:.{cell.digits}f}"
    return text if cell.spread is None else f"{text} ± {cell.spread:.{cell.digits}f}"


def latex(table: Table, sheets: Sequence[Sheet], source: Source) -> str:
    """A float for each sheet, to be put into a document that uses booktabs."""
    lines = [f"% {line}" for line in [*source.lines(), r"Needs \usepackage{booktabs}."]]
    for number, sheet in enumerate(sheets, 1):
        caption = " ".join([*map(_sentence, (table.title, sheet.title)), *legend(table, [sheet])])
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\label{{tab:{table.name}-{number}}}",
            rf"\begin{{tabular}}{{l{'r' * len(sheet.headers)}}}",
            r"\toprule",
            _latex_row(["", *map(_escaped, sheet.headers)]),
            r"\midrule",
            *(_latex_row([_escaped(label), *map(_latex_cell, cells)]) for label, cells in sheet.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _latex_row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_cell(cell: Shown) -> str:
    number = _escaped(_number(cell))
    if cell.place == 1:
        number = rf"\textbf{{{number}}}"
    elif cell.place == 2:
        number = rf"\underline{{{number}}}"
    return number + (f"$^{{{cell.mark}}}$" if cell.mark else "")


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def as_csv(table: Table, outcomes: Sequence[Outcome], source: Source) -> str:
    """A line for each row and data set: options, what was chosen, every metric by seed, sizes, and reasons."""
    stream = io.StringIO()
    write = csv.writer(stream, lineterminator="\n")
    names = [column.name for column in table.columns]
    per_column = [f"{name}{end}" for name in names for end in ("", " spread", " by seed", f" {PAPER}")]
    own = [f"{kind}{what}" for kind in ("", "full ") for what in SIZES]
    write.writerow([*FIRST, *per_column, *own, *LAST])
    for name in dict.fromkeys(outcome.cell.data.name for outcome in outcomes):
        of_data = [outcome for outcome in outcomes if outcome.cell.data.name == name]
        for outcome in of_data:
            write.writerow(_csv_line(table, outcome, of_data, source))
    return stream.getvalue()


def _csv_line(table: Table, outcome: Outcome, others: list[Outcome], source: Source) -> list[object]:
    cell, row, runs = outcome.cell, outcome.cell.row, outcome.runs
    line: list[object] = [table.name, cell.data.name, row.label, row.solver or row.model or "", row.strategy or ""]
    line += [json.dumps(row.options, sort_keys=True), json.dumps(outcome.choice, sort_keys=True)]
    line += [
        len(cell.choices),
        " ".join(map(str, cell.seeds)),
        _rounded(outcome.mean(lambda run: run["valid"].get(table.choose))),
    ]
    for column in table.columns:
        values = values_of(outcome, column, others)
        paper = paper_value(outcome, column)
        line += [
            _rounded(statistics.mean(values) if values else None),
            _rounded(spread(values) if values else None),
        ]
        line += [" ".join(_rounded(value) for value in values or ()), "" if paper is None else paper]
    for kind in ("size", "full"):
        sizes = [outcome.mean(lambda run: run[kind] and run[kind][what]) for what in SIZES]  # noqa: B023
        line += [_rounded(size) for size in sizes]
    line += ["; ".join(" ".join(map(str, run["clusters"])) for run in runs)]
    line += [_rounded(outcome.mean(lambda run: run["seconds"])), " ".join(str(run["epochs"]) for run in runs)]
    line += [
        "" if row.model is None and row.solver is None else outcome.reason or "",
        _listed(sorted({run["threads"] for run in runs})) if runs else "",
    ]
    line += [
        "; ".join(sorted({run["machine"] for run in runs})),
        " ".join(sorted({run["commit"] or "-" for run in runs})),
    ]
    return [*line, source.command]


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
