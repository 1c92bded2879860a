"""Files of tables: those that we have are right, and what is wrong in others is one line."""

import math

import pytest
from tiny_table import TABLE, write_table

from recbole_cel.config import properties_folder
from recbole_cel.inputs import yaml_files
from recbole_cel.options import SettingError
from recbole_cel.strategies import strategies
from recbole_cel.tables.data_sets import find
from recbole_cel.tables.spec import names, read_table

WANTED = {"rating", "ctr", "cold", "sparse", "implicit", "clusters"}
WANTED |= {"ablation", "compression", "business", "rivals"}


def test_all_tables_are_there():
    assert set(names()) >= WANTED


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", names())
def test_our_tables_are_read_and_expanded(name, quick):
    table = read_table(name, quick)
    assert table.rows and (not quick or table.datasets == ["ml-100k"])
    assert any(row.ours for row in table.rows) or name == "ablation"
    assert all(row.reason is None or row.reason.startswith("embedding_budget") for row in table.rows)
    # The same number of trials for all, and none where a quick run shows the shape only.
    trials = {math.prod(map(len, row.grid.values())) for row in table.rows if row.model}
    assert trials == {1} if quick else (len(trials) == 1 and min(trials) > 3)
    find("ml-100k", table.protocol, table.folder, None, fetched=False)


@pytest.mark.parametrize("file", sorted((properties_folder() / "tables" / "data").glob("*/*.yaml")), ids=str)
def test_protocols_say_how_they_choose(file):
    options = yaml_files.read(file)
    metrics = [metric.lower() for metric in options["metrics"]]
    assert options["valid_metric"].lower().partition("@")[0] in metrics
    split = options["eval_args"]["split"]
    assert split == {"LS": "valid_and_test"} or sum(split["RS"]) == pytest.approx(1)


def test_all_strategies_are_those_that_are_registered(tmp_path):
    row = "  - {label: '{model} {strategy}', model: FM, each: {strategy: all}, without: [cel]}\n"
    table = read_table(str(write_table(tmp_path, TABLE.replace("rows:\n", f"rows:\n{row}"))))
    made = [row for row in table.rows if row.label.startswith("FM ")]
    assert [row.strategy for row in made] == [name for name in strategies() if name != "cel"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title:", "titel:", ["table tiny", "'titel'", "did you mean title?"]),
        ("{name: AUC, metric", "{name: AUC, metrik", ["column 1", "'metrik'", "did you mean metric?"]),
        ("{label: full, model: FM", "{lable: full, model: FM", ["row 1", "'lable'", "did you mean label?"]),
        ("x_label: kB", "xlabel: kB", ["picture 1", "did you mean x_label?"]),
        ("seeds: [1], options", "sedes: [1], options", ["quick", "'sedes'", "did you mean seeds?"]),
        ("seeds: [1, 2]", "seeds: [1, 1]", ["seeds", "[1, 1]"]),
        ("choose: auc", "", ["choose", "missing"]),
        ("y: AUC", "y: AUK", ["picture 1", "did you mean AUC?"]),
        ("strategy: cel", "strategy: cell", ["cell", "did you mean cel?"]),
        ("model: FM, strategy: full", "model: FN, strategy: full", ["FN"]),
        ("cel_levels: 1", "cel_levls: 1", ["cel_levls", "did you mean cel_levels?"]),
        ("cel_levels: 1", "cel_levels: 0", ["cel_levels", "0"]),
        ("options: {embedding_budget: 1 B}", "options: {learning_rat: 1}", ["row 3", "learning_rate"]),
        ("label: full", "label: CEL", ["two rows", "CEL"]),
        ("{name: LogLoss", "{name: AUC", ["two columns"]),
        ("choose: auc", "choose: auc\nacross: budget", ["budget"]),
        ("model: FM, strategy: full", "strategy: full", ["model, solver"]),
        ("label: full", "label: '{modle}'", ["{modle}", "model"]),
        ("options: {embedding_budget: 1 B}", "files: [../pyproject.toml]", ["properties/"]),
        ("strategy: full}", "strategy: full, paper: {AUk: 1}}", ["AUk", "did you mean AUC?"]),
        ("grid: {learning_rate", "grid: {learning_rat", ["row 1", "learning_rat", "did you mean learning_rate?"]),
        ("title: Tiny", "title: [", ["line"]),
    ],
)
def test_what_is_wrong_in_a_table_is_one_line(tmp_path, old, new, words):
    assert old in TABLE
    file = write_table(tmp_path, TABLE.replace(old, new, 1))
    with pytest.raises(SettingError) as caught:
        read_table(str(file), quick="sedes" in new)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_budget_that_is_none_empties_its_row_only(tmp_path):
    table = read_table(str(write_table(tmp_path, TABLE.replace("1 B", "much less"))))
    assert [bool(row.reason) for row in table.rows] == [False, False, True]


def test_the_table_of_the_documentation_is_one(tmp_path):
    page = properties_folder().parent / "docs" / "tables.md"
    (tmp_path / "mine.yaml").write_text(page.read_text().split("```yaml\n")[1].split("```")[0])
    table = read_table(str(tmp_path / "mine.yaml"))
    assert [row.label for row in table.rows][:3] == ["full", "CEL, 5x", "CEL, 20x"]


def test_an_unknown_table_is_said_with_the_nearest():
    with pytest.raises(SettingError, match="did you mean cold?"):
        read_table("colds")
