"""Codes of rivals that store some of each id: packed by bits, counted as they are, checked when they are read."""

import pytest
import torch

from recbole_cel.settings import CELSettings
from recbole_cel.strategies import FieldBudget, get_strategy
from recbole_cel.strategies.rivals.codes import Codes, bytes_of_codes

N, WIDTHS = 6000, (16, 1)


@pytest.mark.parametrize(
    ("values", "columns", "wanted"),
    [
        (1, 1, 1),
        (2, 8, 1),
        (16, 4, 2),
        (17, 4, 3),
        (64, 4, 3),
        (256, 1, 1),
        (257, 3, 4),
        (70_000, 1, 3),
        (40_000, 5, 10),
    ],
)
def test_codes_take_their_bits_and_come_back(values, columns, wanted):
    codes = Codes(500, values, columns)
    ids = torch.randperm(500)[:60]
    assert codes.packed.shape == (500, wanted) and bytes_of_codes(500, values, columns) == 500 * wanted
    assert (
        codes.every.min() >= 0
        and codes.every.max() < values
        and len(codes.every[0].unique()) > 0.5 * min(values, 400)
    )
    for _ in range(2):  # nothing is left of the codes before
        given = torch.randint(values, (columns, 500))
        given[:, 0] = values - 1
        codes.put(given)
        assert torch.equal(codes.every, given) and torch.equal(codes(ids), given[:, ids])
        assert codes.num_used == len(given[0].unique())


def test_codes_of_a_file_are_checked():
    codes = Codes(10, 5, 2)
    high = codes.packed.clone()
    high[3] = 0b101 << 3
    with pytest.raises(ValueError, match=r"codes in packed are 0\.\.5, and must lie in 0\.\.4"):
        codes.load_state_dict({"packed": high})
    with pytest.raises(ValueError, match="is of type torch.int32"):
        codes.load_state_dict({"packed": codes.packed.int()})
    with pytest.raises(RuntimeError, match="size mismatch"):
        codes.load_state_dict({"packed": codes.packed[:5]})


def made(name, **limits):
    return get_strategy(name)(FieldBudget("user_id", N, WIDTHS, **limits), CELSettings())


@pytest.mark.parametrize(
    ("serving", "columns", "clusters", "code"),
    [(5, 4, 379, 5), (10, 4, 123, 4), (20, 2, 61, 2), (25, 3, 31, 2)],
)
def test_columns_of_cce_share_the_bytes_of_an_id(serving, columns, clusters, code):
    strategy = made("cce", bytes=N * 68 / serving)
    strategy.table(16, 0.1)
    assert (len(strategy.columns.salts), strategy.size) == (columns, clusters)
    assert strategy.storage().codes == code * N + 8 * columns


@pytest.mark.parametrize(("serving", "number"), [(2, 4), (5, 2), (20, 1)])
def test_buckets_of_prehash_share_the_bytes_of_an_id(serving, number):
    strategy = made("prehash", bytes=N * 68 / serving)
    table = strategy.table(16, 0.1)
    codes = strategy.buckets.codes
    # A weight follows from the others: of a single bucket there is none.
    assert codes.columns == number and strategy.storage().codes == N * (number - 1 + -(-number * codes.bits // 8))
    ids = torch.arange(100)
    assert torch.allclose(strategy.buckets.weights(ids), torch.full((number, 100), 1 / number), atol=0.01)
    assert torch.allclose(table(ids), table.weight[codes(ids)].mean(dim=0), atol=0.01)
