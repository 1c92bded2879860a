"""A small fixed result in all forms."""

import csv
import io
import json

import pytest

from recbole_cel.tables.data_sets import DataSet
from recbole_cel.tables.layout import sheets
from recbole_cel.tables.picture import draw, panels, styles
from recbole_cel.tables.plan import Cell, Outcome
from recbole_cel.tables.render import as_csv, latex, markdown, source_of
from recbole_cel.tables.spec import table_of

COLUMNS = [
    {"name": "AUC", "metric": "AUC"},
    {"name": "LogLoss", "metric": "logloss", "best": "lower", "digits": 2},
    {"name": "gain, %", "gain": "AUC"},
    {"name": "kB", "size": "serving"},
]
ROWS = [
    {"label": "full", "model": "FM", "strategy": "full", "paper": {"AUC": {"small": 0.79}}},
    {"label": "b_iases | 1", "model": "LR", "strategy": "full"},
    {"label": "CEL", "model": "FM", "strategy": "cel", "ours": True},
    {"label": "no budget", "model": "FM", "strategy": "modulo_hash"},
]
AUC = {"full": [0.70, 0.71, 0.702], "b_iases | 1": [0.6, 0.61, 0.62], "CEL": [0.80, 0.8101, 0.8021]}
GIVEN = {"title": "A table", "datasets": ["small"], "choose": "auc", "columns": COLUMNS, "rows": ROWS}


def run(auc, size=1000, **more):
    metrics = {"auc": auc, "logloss": 1 - auc}
    sizes = {"serving": size, "training": 3 * size, "parameters": size // 4}
    return {
        "valid": metrics, "test": metrics, "cold": {}, "clusters": [4, None], "seconds": 2.0, "epochs": 3,
        "size": sizes, "full": {**sizes, "serving": 10_000}, "threads": 1, "machine": "A processor, 2 cores",
        "commit": "abc1234", "versions": {"torch": "2.0"}, **more,
    }  # fmt: skip


def outcomes_of(given, runs):
    table = table_of("small", given)
    data = DataSet("small", "/nowhere", {})
    found = []
    for row in table.rows:
        cell = Cell(table, row, data, [1, 2, 3])
        has = runs.get(row.label)
        found.append(Outcome(cell, {"learning_rate": 0.01}, has) if has else Outcome(cell, reason="it has none"))
    return table, found


@pytest.fixture
def made():
    table, outcomes = outcomes_of(GIVEN, {label: [run(value) for value in auc] for label, auc in AUC.items()})
    return table, outcomes, sheets(table, outcomes), source_of("python run_tables.py small", [1, 2, 3], outcomes)


def test_markdown(made):
    table, _, of_table, source = made
    assert markdown(table, of_table, source).splitlines() == [
        "# A table",
        "",
        "## small",
        "",
        "|  | AUC | AUC (paper) | LogLoss | gain, % | kB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| full | <u>0.7040 ± 0.0053</u> | 0.7900 | <u>0.30 ± 0.01</u> | 0.00 ± 0.00 | 1.0 |",
        r"| b_iases \| 1 | 0.6100 ± 0.0100 |  | 0.39 ± 0.01 | -13.35 ± 1.45 | 1.0 |",
        r"| CEL | **0.8041 ± 0.0053**\*\* |  | **0.20 ± 0.01**\*\* | 14.21 ± 0.10 | 1.0 |",
        "| no budget |  |  |  |  |  |",
        "",
        "Empty:",
        "",
        "- it has none: no budget",
        "",
        "Ours are first, or share the first place, in 2 of 2 columns with a rival.",
        "",
        "Bold is the best of a column, underlined the second best.",
        "",
        r"\* p < .05 and \*\* p < .01 in the paired t-test over seeds, against that of the best rival.",
        "",
        "kB are of the tables of users and items, codes and scalars of every id included.",
        "",
        "Made by: `python run_tables.py small`",
        "",
        "Test metrics, mean ± standard deviation over 3 seeds, which change the split too: 1, 2, 3; options are "
        "chosen on the validation split of the first.",
        "",
        "Threads a run: 1; machine: A processor, 2 cores; code: abc1234; torch 2.0.",
    ]


def test_latex(made):
    table, _, of_table, source = made
    lines = latex(table, of_table, source).splitlines()
    start = lines.index(r"\toprule")
    assert lines[start - 1 : start + 8] == [
        r"\begin{tabular}{lrrrrr}",
        r"\toprule",
        r" & AUC & AUC (paper) & LogLoss & gain, \% & kB \\",
        r"\midrule",
        r"full & \underline{0.7040 $\pm$ 0.0053} & 0.7900 & \underline{0.30 $\pm$ 0.01} & 0.00 $\pm$ 0.00 "
        r"& 1.0 \\",
        r"b\_iases | 1 & 0.6100 $\pm$ 0.0100 &  & 0.39 $\pm$ 0.01 & -13.35 $\pm$ 1.45 & 1.0 \\",
        r"CEL & \textbf{0.8041 $\pm$ 0.0053}$^{**}$ &  & \textbf{0.20 $\pm$ 0.01}$^{**}$ & 14.21 $\pm$ 0.10 "
        r"& 1.0 \\",
        r"no budget &  &  &  &  &  \\",
        r"\bottomrule",
    ]
    assert r"\caption{A table. small. Bold is" in "\n".join(lines)


def test_csv_has_every_seed_and_every_reason(made):
    table, outcomes, _, source = made
    lines = list(csv.DictReader(io.StringIO(as_csv(table, outcomes, source))))
    assert [line["row"] for line in lines] == [row["label"] for row in ROWS]
    full, last = lines[0], lines[-1]
    assert full["AUC by seed"] == "0.7 0.71 0.702" and full["AUC paper"] == "0.79"
    assert (full["serving"], full["full serving"], full["clusters"]) == ("1000", "10000", "4 None; 4 None; 4 None")
    assert json.loads(full["chosen"]) == {"learning_rate": 0.01} and full["machine"] == "A processor, 2 cores"
    assert (last["reason"], last["AUC"]) == ("it has none", "")


def test_values_across_and_rows_that_fit():
    each = {"embedding_budget": ["2x", "4x"]}
    rows = [
        {"label": "full", "model": "FM", "strategy": "full", "reference": True},
        {"label": "small", "model": "LR", "strategy": "full"},
        {"label": "CEL {embedding_budget}", "series": "CEL", "model": "FM", "strategy": "cel", "each": each}
        | {"ours": True},
    ]  # fmt: skip
    given = {**GIVEN, "rows": rows, "across": "embedding_budget", "columns": COLUMNS[:1]}
    runs = {
        "full": [run(0.7)], "small": [run(0.6, size=300)], "CEL 2x": [run(0.8, size=500)],
    }  # fmt: skip
    table, outcomes = outcomes_of(given, runs)
    for outcome in outcomes:  # budgets that are known to the strategies only with another change
        budget = outcome.cell.row.values.get("embedding_budget")
        if budget:
            outcome.cell.row.values["embedding_budget"] = f"{budget} serving"
    (sheet,) = sheets(table, outcomes)
    assert sheet.headers == ["AUC, own size", "2x serving", "4x serving"]
    shown = {label: [cell.mean for cell in cells] for label, cells in sheet.rows}
    assert sheet.won == (1, 1)
    assert shown == {"full": [0.7, None, None], "small": [0.6, 0.6, None], "CEL": [None, 0.8, None]}


def test_a_sheet_for_each_value_in_which_rows_go_by_their_series():
    one = {"label": "FM, {kept}", "series": "FM", "model": "FM", "strategy": "full"}
    rows = [{**one, "values": {"kept": "a tenth"}}, {**one, "values": {"kept": "all"}}]
    given = {**GIVEN, "rows": rows, "sheets": "kept"}
    found = sheets(*outcomes_of(given, {"FM, a tenth": [run(0.7)], "FM, all": [run(0.8)]}))
    assert [(sheet.title.partition(", ")[2], sheet.rows[0][0], sheet.rows[0][1][0].mean) for sheet in found] == [
        ("a tenth", "FM", 0.7),
        ("all", "FM", 0.8),
    ]


def test_a_gain_over_nothing_is_none():
    columns = [{"name": "AUC", "metric": "auc"}, {"name": "gain", "gain": "AUC"}]
    rows = [
        {"label": "full", "model": "FM", "strategy": "full"},
        {"label": "CEL", "model": "FM", "strategy": "cel", "ours": True},
    ]
    (sheet,) = sheets(
        *outcomes_of({**GIVEN, "rows": rows, "columns": columns}, {"full": [run(0.0)], "CEL": [run(0.5)]})
    )
    assert [cells[1].mean for _, cells in sheet.rows] == [None, None]


def test_the_smallest_that_reaches_the_best_rival():
    rows = [
        {"label": "full", "model": "FM", "strategy": "full"},
        *({"label": f"CEL {n}", "model": "FM", "strategy": "cel", "ours": True} for n in (1, 2, 3)),
    ]
    given = {**GIVEN, "rows": rows, "least": {"column": "AUC", "size": "serving"}}
    runs = {"full": [run(0.7)], "CEL 1": [run(0.8, 2000)], "CEL 2": [run(0.75, 1000)], "CEL 3": [run(0.6, 10)]}
    (sheet,) = sheets(*outcomes_of(given, runs))
    assert sheet.notes == [
        "Smallest of ours that reaches the best rival, full (0.7000): CEL 2, 0.7500 with 1.0 kB in serving, "
        "10 times less than full tables."
    ]


def test_a_picture_has_a_style_for_each_of_many_series(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{"label": f"CEL {n}", "model": "FM", "strategy": "cel", "ours": n == 0} for n in range(30)]
    picture = {"x": "serving", "x_label": "kB", "y": "AUC", "y_label": "test AUC", "log": True}
    given = {**GIVEN, "rows": rows, "pictures": [picture]}
    table, outcomes = outcomes_of(given, {f"CEL {n}": [run(0.7 + n / 100, 1000 + n)] for n in range(30)})
    style = styles(outcomes)
    assert style["CEL 0"].strong and not style["CEL 1"].strong
    assert len({(one.colour, one.marker, str(one.dash)) for one in style.values()}) == 30
    assert len(panels(table, table.pictures[0], outcomes)) == 1
    files = draw(table, table.pictures[0], outcomes, tmp_path / "small", "where it is from")
    assert [file.name for file in files] == ["small.png", "small.svg"]
    assert "where it is from" in files[1].read_text()
