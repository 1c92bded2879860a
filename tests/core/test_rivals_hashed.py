"""What makes each rival the method of its paper, by small oracles."""

import pytest
import torch
from reference.packed_int8 import pack, unpack
from torch import nn

from recbole_cel.embedding import project_non_negative
from recbole_cel.options import SettingError
from recbole_cel.runs.report import size_table
from recbole_cel.runs.size import field_size
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import FieldBudget, field_budgets, get_strategy
from recbole_cel.strategies.rivals.hashing import hash_bits, hashed

N = 1000
# With a budget that is enough for each.
ROWS = {
    "binary_code_hash": 64,
    "compositional": 64,
    "dhe": 100,
    "double_hash": 64,
    "int8": 64,
    "low_dimension": 300,
    "memcom": 300,
    "quotient_remainder": 100,
    "robe": 64,
    "tensor_train": 64,
    "unified": 64,
}


def make(name, widths=(16, 1), entities=N, rows=None, std=0.1, mean=0.0, seed=0, **options):
    torch.manual_seed(seed)
    strategy = get_strategy(name)
    budget = FieldBudget("user_id", entities, tuple(widths), rows=rows or ROWS[name])
    made = strategy(budget, CELSettings(), strategy.Options(**options))
    return made, [made.table(width, std, mean).eval() for width in widths]


def ids(number=N):
    return torch.arange(number)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_start_with_the_deviation_that_was_asked_for(name):
    for place, width in enumerate((16, 1)):
        found = torch.stack([make(name, std=0.03, seed=seed)[1][place](None).detach() for seed in range(8)])
        assert found.shape == (8, N, width)
        assert found.std() == pytest.approx(0.03, rel=0.15)
        assert abs(found.mean()) < 0.006


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_start_about_a_mean_and_stay_non_negative(name):
    """As in models of non-negative rows, and biases that start at zero."""
    found = [make(name, std=0.15, mean=0.5, seed=seed)[1][0](None).detach() for seed in range(8)]
    assert torch.stack(found).mean() == pytest.approx(0.5, rel=0.1)
    assert torch.stack(found).std() == pytest.approx(0.15, rel=0.25)
    _, (table, _) = make(name, std=0.3, mean=0.1)
    optimiser = torch.optim.SGD(table.parameters(), lr=1.0)
    for _ in range(3):
        table.train()(ids()).sum().mul(0.01).backward()
        optimiser.step()
        optimiser.zero_grad()
        project_non_negative(table)
        assert float(table.eval()(None).detach().min()) >= 0


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_that_start_at_zero_learn(name):
    _, tables = make(name, std=0.0)
    aims = [torch.randn(N, 1) * torch.randn(1, table.embedding_dim) for table in tables]
    optimiser = torch.optim.Adam(nn.ModuleList(tables).parameters(), lr=0.02)

    def loss():
        return sum((table(ids()) - aim).square().mean() for table, aim in zip(tables, aims))

    before = float(loss())
    assert before == pytest.approx(float(sum(aim.square().mean() for aim in aims)), rel=1e-3)
    for table in tables:
        table.train()
    for _ in range(30):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert float(loss()) < 0.995 * before


def test_hashes_are_even_independent_and_always_the_same():
    counts = torch.bincount(hashed(ids(100_000), 3, 50), minlength=50)
    assert float((counts - 2000).square().sum() / 2000) < 90  # chi-squared with 49 degrees of freedom
    pairs = torch.bincount(hashed(ids(100_000), 0, 10) * 10 + hashed(ids(100_000), 1, 10), minlength=100)
    assert float((pairs - 1000).square().sum() / 1000) < 160  # with 99
    assert hash_bits(ids(3), 1).tolist() == [by_hand(i, 1) for i in range(3)]
    several = hashed(ids(7).unsqueeze(1), torch.tensor([4, 5]), 1000)
    assert torch.equal(several, torch.stack([hashed(ids(7), 4, 1000), hashed(ids(7), 5, 1000)], dim=1))


def by_hand(number, salt):
    def mix(bits):
        bits ^= bits >> 15
        bits = bits * 0x2C1B3C6D % 2**32
        bits ^= bits >> 12
        bits = bits * 0x297A2D39 % 2**32
        return bits ^ bits >> 15

    return mix(mix(number) ^ mix(salt + 0x9E3779B9))


def test_double_hash_adds_two_rows():
    _, (table, _) = make("double_hash")
    places = table.places(ids())
    assert (places[:, 0] != places[:, 1]).all() and places.max() < 64
    for i in (0, 7, 999):
        first, second = places[i].tolist()
        assert torch.equal(table(torch.tensor(i)), table.weight[first] + table.weight[second])
    assert make("double_hash", functions=3)[1][0].places(ids()).shape == (N, 3)


@pytest.mark.parametrize("operation", ["mult", "add", "concat"])
def test_quotient_and_remainder_tell_all_ids_apart(operation):
    strategy, (table, first_order) = make("quotient_remainder", operation=operation)
    m = len(table.remainders)
    assert m == max(m for m in range(32, 1000) if strategy.cost(m).parameters <= 1700)
    r, q = table.remainders[777 % m], table.quotients[777 // m]
    expected = {"mult": r * q, "add": r + q, "concat": torch.cat([r, q])}[operation]
    assert torch.equal(table(torch.tensor(777)), expected)
    assert len(table(None).unique(dim=0)) == N == len(first_order(None).unique())
    with pytest.raises(SettingError, match="need 1088 at least"):
        make("quotient_remainder", rows=50)


def test_compositional_parts_side_by_side():
    _, (table, first_order) = make("compositional")
    assert [tuple(part.shape) for part in table.parts] == [(64, 2)] * 8
    chosen = [part[hashed(torch.tensor([5]), salt, 64)] for salt, part in enumerate(table.parts)]
    assert torch.equal(table(torch.tensor([5])), torch.cat(chosen, dim=-1))
    assert [tuple(part.shape) for part in first_order.parts] == [(64, 1)]
    assert [part.shape[1] for part in make("compositional", widths=(10,), parts=4)[1][0].parts] == [3, 3, 2, 2]


def test_memcom_has_two_numbers_of_each_id():
    strategy, (table, first_order) = make("memcom", bias=True)
    rows = (300 * 17 - 3 * N) // 16
    assert table.weight.shape == (rows, 16) and first_order.weight is None
    with torch.no_grad():
        table.scale[140], table.bias[140] = 3.0, 0.5
    assert torch.equal(table(torch.tensor(140)), 3 * table.weight[140 % rows] + 0.5)
    storage = strategy.storage()
    assert (storage.rows, storage.scalars, storage.codes) == (4 * 16 * rows, 4 * 3 * N, 0)
    # The paper's main form has one, and the first-order weight.
    strategy, (table, _) = make("memcom")
    assert strategy.storage().scalars == 4 * 2 * N and table.bias is None
    assert torch.equal(table(torch.tensor(140)), table.scale[140] * table.weight[140 % strategy.size])


@pytest.mark.parametrize("operation", ["sum", "concat"])
def test_groups_of_bits_pick_a_row_each(operation):
    strategy, (table, _) = make("binary_code_hash", operation=operation)
    expected = []
    for group, (bits, rows) in enumerate(zip(table.bits, table.tables)):
        assert len(rows) == 2**bits
        expected.append(rows[by_hand(6, group) % 2**bits])
    together = sum(expected) if operation == "sum" else torch.cat(expected)
    assert torch.allclose(table(torch.tensor(6)), together)
    assert sum(table.bits) == strategy.size and max(table.bits) - min(table.bits) <= 1


def test_robe_reads_blocks_that_wrap():
    _, (table, first_order) = make("robe", rows=2, block=8)
    assert table.array.shape == (32,) and first_order.array.shape == (2,)
    places = table.places(ids())
    assert ((places[:, 1:8] - places[:, :7]) % 32 == 1).all() and (
        (places[:, 9:] - places[:, 8:15]) % 32 == 1
    ).all()
    wrapping = next(i for i in range(N) if places[i, 0] == 30)
    assert places[wrapping, :4].tolist() == [30, 31, 0, 1]
    assert torch.equal(table(ids())[wrapping], table.array[places[wrapping]])


def test_tensor_train_is_the_full_product():
    strategy, (table, _) = make("tensor_train")
    (n1, n2, n3), (d1, d2, d3), (left, right) = table.shape
    assert (n1, n2, n3) == (10, 10, 10) and (d1, d2, d3) == (4, 2, 2) and left + right == strategy.size + 1
    first, middle, last = table.cores
    full = torch.einsum(
        "axr,brys,csz->abcxyz",
        first.view(n1, d1, left),
        middle.view(n2, left, d2, right),
        last.view(n3, right, d3),
    ).reshape(N, 16)
    assert torch.allclose(table(None), full, atol=1e-6)


def test_low_dimension_is_a_product_and_full_where_it_pays_nothing():
    _, (table, first_order) = make("low_dimension")
    assert table.weight.shape == (N, 4) and first_order.weight.shape == (N, 1)
    assert torch.allclose(table(torch.tensor([3])), table.weight[3:4] @ table.projection)
    assert first_order.projection is None
    strategy, (table, _) = make("low_dimension", entities=20, rows=20)
    assert table.projection is None and table.weight.shape == (20, 16)
    costs = [strategy.cost(size).parameters for size in range(1, 17)]
    assert costs == sorted(costs) and costs[-1] == 20 * 17


def test_dhe_is_a_network_of_hashes():
    strategy, (table, first_order) = make("dhe")
    assert table.network is first_order.network and table.network.hashes == strategy.size
    codes = hashed(ids().unsqueeze(1), torch.arange(strategy.size), 10**6) / (10**6 - 1) * 2 - 1
    hidden = codes
    for linear, norm in zip(table.network.linear, table.network.norms):
        hidden = nn.functional.mish((linear(hidden) - norm.mean) / (norm.var + 1e-5).sqrt())
    assert torch.allclose(table(None), table.output(hidden), atol=1e-4)
    # Moments of the first layer are those of all ids, before any training.
    assert (table.network.linear[0](codes).std(dim=0) / table.network.norms[0].var.sqrt()).sub(
        1
    ).abs().max() < 0.01
    assert table.network.linear[1].weight.shape == (-(-strategy.size // 16),) * 2
    network = make("dhe", rows=20_000, entities=20_000)[1][0].network
    assert network.hashes == 1024 and len(network.linear[0].weight) > 64
    assert make("dhe", hashes=64, layers=5)[1][0].network.linear[0].weight.shape[1] == 64
    assert torch.isfinite(table.train()(torch.tensor([4]))).all()  # a batch of one


@pytest.mark.parametrize("bits", [16, 8, 4, 2])
@pytest.mark.parametrize("width", [16, 3, 1])
def test_packed_bytes_give_the_same_rows(bits, width):
    strategy, (table,) = make("int8", widths=(width,), entities=77, bits=bits)
    with torch.no_grad():
        table.weight[3] = 0.0
    packed = pack(table)
    assert packed.numbers.dtype == torch.uint8 and packed.scales.dtype == torch.float16
    assert torch.equal(unpack(packed, table), table(None))
    taken = len(packed.numbers) + 2 * len(packed.scales)
    assert taken == strategy.storage().serving == strategy.cost(77).serving
    error = (table(None) - table.weight).abs().max()
    assert error <= {16: 1e-3, 8: 0.002, 4: 0.03, 2: 0.15}[bits] * table.weight.abs().max() / 0.3
    table.train()(torch.tensor([5, 5])).sum().backward()  # straight through
    assert torch.equal(table.weight.grad[5], torch.full((width,), 2.0))


def test_as_many_bits_as_the_bytes_of_serving_allow():
    def bits(text, **options):
        limits = field_budgets(text, {"u": N}, {"u": (16, 1)})["u"]
        strategy = get_strategy("int8")
        return strategy(limits, CELSettings(), strategy.Options(**options)).bits

    assert [bits(text) for text in ("1x serving", "2x serving", "3x serving", "6x serving", "9x serving")] == [
        *(16, 16, 8, 4, 2)
    ]
    assert bits("64 rows") == bits("1x training") == bits("1x") == 8
    assert bits("1x serving", bits=4) == 4
    for text, options in (("20x serving", {}), ("2x training", {}), ("2x", {}), ("8x serving", {"bits": 8})):
        with pytest.raises(SettingError, match=r"^embedding_budget leaves .* to field u, whose tables need"):
            bits(text, **options)


def test_fields_share_one_table_that_is_counted_once():
    sizes, widths = {"u": 900, "i": 401}, {"u": (16, 1), "i": (16, 1)}
    budgets = field_budgets("10x serving", sizes, widths)
    strategies = get_strategy("unified").for_fields(budgets, CELSettings())
    model = nn.ModuleList(s.table(width, 0.1) for width in (16, 1) for s in strategies.values())
    users, items = model[0], model[1]
    assert users.pool is items.pool and model[2].pool is model[3].pool is not users.pool
    rows = sum(strategy.size for strategy in strategies.values())
    assert rows == 90 + 40 and users.pool.weight.shape == (8 * rows, 2)
    assert torch.equal(users(torch.tensor(5)), users.pool.weight[users.places(torch.tensor([5]))[0]].flatten())
    assert not torch.equal(users(ids(400)), items(ids(400)))  # hashes differ
    optimiser = torch.optim.Adam(model.parameters())
    sum(table(ids(100)).sum() for table in model).backward()
    optimiser.step()
    found = [field_size(name, strategy, optimiser) for name, strategy in strategies.items()]
    assert sum(size.parameters for size in found) == sum(p.numel() for p in model.parameters()) == 17 * rows
    assert sum(size.storage.serving for size in found) == 4 * 17 * rows
    assert sum(size.storage.training for size in found) == 3 * 4 * 17 * rows + 2 * 4
    assert found[0].storage.serving == pytest.approx(4 * 17 * strategies["u"].size, abs=2)
    assert size_table(found).splitlines()[-1].split()[2:4] == [f"{4 * 17 * rows / 1000:.1f}", "kB"]
    model.to(torch.float64)
    assert users.pool.weight is items.pool.weight and len(list(model.parameters())) == 2
