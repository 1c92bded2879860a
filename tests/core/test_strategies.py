"""The contract that every registered strategy keeps."""

import copy
import io

import pytest
import torch
from torch import nn

from recbole_cel.embedding import cross_fitted
from recbole_cel.options import SettingError
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import (
    EmbeddingStrategy,
    FieldBudget,
    field_budgets,
    get_strategy,
    registry,
    strategies,
)
from recbole_cel.strategies import register_strategy as register

N, WIDTHS = 1000, (16, 1)
UNITS = ("rows", "parameters", "bytes", "training_bytes")
BUDGETS = [
    "5x",
    "20x",
    "64 rows",
    "2000 parameters",
    "6 kB",
    "40 kB",
    "30 kB training",
    "5x serving",
    "10x training",
]
# Rows in the place of 50 for those that cannot be so small.
ROWS = {"low_dimension": 250, "memcom": 250, "quotient_remainder": 100}
# Those in which all ids have a row, whatever a budget in rows says.
OWN_ROWS = {"full", "count_decay", "int8"}


def make(name, seed=0, **budget):
    torch.manual_seed(seed)
    limits = budget or {"rows": ROWS.get(name, 50)}
    strategy = get_strategy(name)(FieldBudget("user_id", N, WIDTHS, **limits), CELSettings())
    model = nn.ModuleList([strategy.table(width, std=0.1) for width in WIDTHS])
    return strategy, model.eval()


def rows_of(model, ids=None):
    return torch.cat([table(ids) for table in model], dim=-1)


@pytest.fixture(params=sorted(strategies()))
def name(request):
    return request.param


def test_shapes(name):
    _, model = make(name)
    for ids in (torch.tensor(3), torch.arange(7), torch.zeros(2, 3, dtype=torch.int32), torch.empty(0, 2).long()):
        assert model[0](ids).shape == (*ids.shape, 16)
    assert torch.equal(rows_of(model), rows_of(model, torch.arange(N)))  # None is all, id 0 included


def test_gradients_reach_the_rows_that_were_looked_up(name):
    strategy, model = make(name)
    ids = torch.tensor([0, 5, 5, 999])
    before = rows_of(model, ids).detach()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    with strategy.lookups([ids]):  # as in training
        (rows_of(model.train(), ids) * torch.arange(4).unsqueeze(1)).sum().backward()
    optimiser.step()
    assert not torch.equal(rows_of(model.eval(), torch.tensor([5])), before[1:2])


@pytest.mark.parametrize("ids", [[-1], [3, N], [N + 5]])
def test_ids_out_of_range_are_errors(name, ids):
    _, model = make(name)
    with pytest.raises(IndexError):
        model[0](torch.tensor(ids))


@pytest.mark.parametrize("budget", BUDGETS)
def test_budgets_are_kept_or_refused(name, budget):
    limits = field_budgets(budget, {"user_id": N}, {"user_id": WIDTHS})["user_id"]
    try:
        strategy, model = make(name, **{unit: getattr(limits, unit) for unit in UNITS if getattr(limits, unit)})
    except SettingError as error:
        assert str(error).startswith("embedding_budget ")
        return
    optimiser = trained(model)
    strategy.settle()
    numbers = sum(parameter.numel() for parameter in model.parameters())
    storage = strategy.storage(optimiser)
    counters = 4 * len(list(model.parameters()))
    cost = strategy.cost(strategy.size)
    if cost.numbers is not None:  # others are served than are trained
        assert cost.numbers < numbers and storage.rows == 4 * cost.numbers
        numbers = cost.numbers
    assert strategy.numbers == numbers
    assert storage.serving == pytest.approx(cost.serving, rel=0.02)
    assert storage.training - counters == pytest.approx(cost.training, rel=0.02)
    in_training = storage.training - counters
    used = storage.serving if limits.bytes else in_training if limits.training_bytes else numbers
    assert used <= 1.02 * limits.amount or (limits.rows and name in OWN_ROWS)
    # As large as it may be, or a little smaller where codes then take fewer bytes.
    more = strategy.cost(strategy.size * 10 // 9 + 1)
    if strategy.size < N and limits.used(strategy.cost(strategy.size + 1)) <= limits.amount:
        assert limits.counts_bytes and more.codes > cost.codes and limits.used(more) > limits.amount


@pytest.mark.parametrize(
    ("budget", "rows", "codes"),
    [
        ({"rows": 131}, 131, 5),
        ({"parameters": 131 * 17}, 131, 5),
        ({"bytes": 140 * 68 + 5 * N}, 128, 4),  # less than a tenth of the rows for a byte of each id
        ({"bytes": 150 * 68 + 5 * N}, 150, 5),
        ({"training_bytes": 140 * (3 * 68 + 9) + 25 * N}, 128, 4),
    ],
)
def test_rows_fill_the_bits_of_their_codes_where_bytes_count(budget, rows, codes):
    strategy, _ = make("cel", **budget)
    assert (strategy.size, strategy.storage().codes) == (rows, codes * N)
    assert len(strategy.assignments) == 8


@pytest.mark.parametrize(
    ("budget", "levels", "folds"),
    [
        ("5x training", 8, 4),
        ("10x training", 4, 4),
        ("20x training", 2, 4),
        ("50x training", 4, 1),
        ("50x serving", 1, 4),
        ("10x serving", 6, 4),
    ],
)
def test_codes_leave_half_of_the_bytes_to_the_rows_by_fewer_levels_and_then_fewer_folds(budget, levels, folds):
    limits = field_budgets(budget, {"user_id": N}, {"user_id": WIDTHS})["user_id"]
    strategy, _ = make("cel", **{unit: getattr(limits, unit) for unit in UNITS if getattr(limits, unit)})
    assert (len(strategy.assignments), strategy.assignments[0].num_folds) == (levels, folds)


def test_all_fields_have_as_many_folds():
    budgets = {
        "user_id": FieldBudget("user_id", 5 * N, WIDTHS, training_bytes=20 * 5 * N),
        "item_id": FieldBudget("item_id", N, WIDTHS, training_bytes=4 * N),
    }
    found = get_strategy("cel").for_fields(budgets, CELSettings())
    assert {strategy.assignments[0].num_folds for strategy in found.values()} == {1}


def trained(model):
    optimiser = torch.optim.Adam(model.parameters())
    ids = torch.arange(N)
    with cross_fitted([ids]):
        rows_of(model.train(), ids).square().sum().backward()
    optimiser.step()
    model.eval()
    return optimiser


def test_storage_counts_everything(name):
    strategy, model = make(name)
    storage = strategy.storage(trained(model))
    numbers = sum(parameter.numel() for parameter in model.parameters())
    buffers = {id(buffer): buffer for buffer in model.buffers()}
    kept = sum(buffer.numel() * buffer.element_size() for buffer in buffers.values())
    assert storage.training == 3 * 4 * numbers + 4 * len(list(model.parameters())) + kept
    assert storage.serving <= storage.training
    # What is served in fewer bytes than it is trained in says so.
    cost = strategy.cost(strategy.size)
    served = numbers if cost.numbers is None else cost.numbers
    assert storage.serving >= 4 * served or cost.served is not None


def test_one_seed_is_one_table_and_another_is_not(name):
    first, same, other = (rows_of(make(name, seed=seed)[1]) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_saved_loaded_copied_and_moved(name):
    _, model = make(name, seed=1)
    expected = rows_of(model)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    _, loaded = make(name, seed=2)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(rows_of(loaded), expected)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert torch.equal(rows_of(twin), expected)
    assert rows_of(twin.double()).dtype == torch.float64
    assert all(parameter.is_meta for parameter in twin.to("meta").parameters())


def test_mixed_precision(name):
    _, model = make(name)
    head = nn.Linear(17, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(rows_of(model, torch.arange(8))).sum()
    output.backward()
    assert output.dtype == torch.bfloat16 and next(model.parameters()).grad.isfinite().all()


@pytest.mark.parametrize(
    "budget",
    [
        None,
        20,
        "",
        "20",
        "x",
        "0x",
        "-3 rows",
        "2.5 rows",
        "20 y",
        "1..5 MB",
        "nan MB",
        "inf MB",
        ["2 MB"],
        "20x test",
        "2 training",
    ],
)
def test_what_is_no_budget_is_said(budget):
    with pytest.raises(SettingError, match="embedding_budget must be such as 20x"):
        field_budgets(budget, {"user_id": N}, {"user_id": WIDTHS})


def test_budgets_are_shared_out_by_the_size_of_full_tables():
    sizes, widths = {"u": 300, "i": 100}, {"u": (16, 1), "i": (16, 1)}
    assert {k: v.bytes for k, v in field_budgets("4 kB", sizes, widths).items()} == {"u": 3000, "i": 1000}
    assert {k: v.rows for k, v in field_budgets("8 rows", sizes, widths).items()} == {"u": 8, "i": 8}
    found = {k: v.training_bytes for k, v in field_budgets("10x training", sizes, widths).items()}
    assert found == {"u": 6120, "i": 2040}
    assert {k: v.bytes for k, v in field_budgets("10x in serving", sizes, widths).items()} == {"u": 2040, "i": 680}
    assert {k: v.bytes for k, v in field_budgets("4 kB serving", sizes, widths).items()} == {"u": 3000, "i": 1000}
    with pytest.raises(SettingError, match="counts rows, which serving and training share"):
        field_budgets("4 rows training", sizes, widths)
    assert {k: v.parameters for k, v in field_budgets("10x", sizes, widths).items()} == {"u": 510, "i": 170}


def test_too_small_a_budget_is_one_line():
    with pytest.raises(SettingError, match=r"leaves 10 bytes to field user_id, whose tables need 1068 at least"):
        make("cel", bytes=10)


def of_kind(**attributes):
    def table(self, embedding_dim, std, mean):
        return nn.Embedding(self.num_entities, embedding_dim)

    return type("Mine", (EmbeddingStrategy,), {"_make_table": table, **attributes})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"name": "cel", "suffix": "Mine"}, "name 'cel' is taken by"),
        ({"name": "mine", "suffix": "CEL"}, "suffix 'CEL' is taken by"),
        ({"name": "mine"}, "suffix must be a word"),
        ({"name": "mine", "suffix": "My Own"}, "suffix must be a word"),
        ({"name": "mine", "suffix": "Mine", "prefix": "cel_mine_"}, "prefix cel_ is taken by the package"),
        ({"name": "mine", "suffix": "Mine", "Options": CELSettings}, "needs a prefix"),
    ],
)
def test_clashes_are_errors(attributes, message):
    with pytest.raises(ValueError, match=message):
        register(of_kind(**attributes))
    assert "mine" not in strategies()


def test_entry_points_are_registered(monkeypatch):
    mine = of_kind(name="from_elsewhere", suffix="Elsewhere")

    class Entry:
        def load(self):
            return mine

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()] if "strategies" in group else [])
    registry._register_entry_points.cache_clear()
    try:
        assert get_strategy("from_elsewhere") is mine
        with pytest.raises(SettingError, match="did you mean from_elsewhere"):
            get_strategy("from_elsewher")
    finally:
        registry._REGISTERED.pop("from_elsewhere", None)
