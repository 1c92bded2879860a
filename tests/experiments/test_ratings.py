import numpy as np
import torch

from recbole_cel.experiments.baselines import AlternatingLeastSquares, Biases
from recbole_cel.experiments.ratings import Ratings, authors_ratings, authors_split, hold_out, read_ml_100k
from recbole_cel.experiments.training import mean_squared_error


def test_the_published_split_is_rebuilt():
    train, valid = authors_split(read_ml_100k(), 0)
    assert (len(train), len(valid)) == (80_001, 19_999)
    assert train.iloc[0].tolist()[:2] == [23, 528]
    assert valid.iloc[0]["user"] == 704
    assert not set(train.index) & set(valid.index)
    fit, held = authors_ratings(0)
    assert (int(fit.users[0]), int(fit.items[0]), int(held.users[0])) == (22, 527, 703)
    assert (fit.num_users, fit.num_items, len(held.values)) == (943, 1682, 19_999)


def test_seeds_differ_and_the_global_generator_is_left_alone():
    np.random.seed(7)
    expected = np.random.rand(2)
    np.random.seed(7)
    first = np.random.rand()
    one, other = (authors_split(read_ml_100k(), seed)[0].index for seed in (0, 1))
    assert [first, np.random.rand()] == expected.tolist()
    assert one.tolist() != other.tolist()


def random_ratings(seed, number=3000, noise=0.1):
    """Ratings of biases and one product, the first ones of users 0 to 59 for items 0 to 39."""
    generator = torch.Generator().manual_seed(seed)
    users, items = (torch.randint(0, size, (number,), generator=generator) for size in (60, 40))
    biases = torch.randn(60, generator=generator), torch.randn(40, generator=generator)
    taste = torch.randn(60, generator=generator), torch.randn(40, generator=generator)
    values = 3.0 + biases[0][users] + biases[1][items] + taste[0][users] * taste[1][items]
    return Ratings(users, items, values + noise * torch.randn(number, generator=generator), 61, 41)


def test_held_out_ratings_are_a_part():
    whole = random_ratings(0)
    fit, held = hold_out(whole, 0.1, 3)
    assert (len(fit.values), len(held.values)) == (2700, 300)
    assert torch.equal(torch.cat([fit.values, held.values]).sort().values, whole.values.sort().values)


def test_baselines_find_what_they_can_express():
    train, test = hold_out(random_ratings(1), 0.3, 0)
    biases = Biases(train, 0.1)
    squares = AlternatingLeastSquares(train, rank=4, decay=0.01, shrinkage=0.1, rounds=15)
    assert mean_squared_error(squares, test) < 0.06 < 0.5 < mean_squared_error(biases, test)
    assert mean_squared_error(biases, test) < 0.6 * float(test.values.var())
    nobody = biases(torch.tensor([60]), torch.tensor([40]))
    assert torch.equal(nobody, train.values.mean().unsqueeze(0))
    assert torch.equal(squares(torch.tensor([60]), torch.tensor([40])), nobody)
