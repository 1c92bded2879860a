import runpy
from pathlib import Path

import pytest
import torch

from recbole_cel.embedding import levels_of
from recbole_cel.experiments.ratings import authors_ratings
from recbole_cel.experiments.training import mean_squared_error

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "authors_split.py"


@pytest.fixture(scope="module")
def benchmark():
    return runpy.run_path(str(BENCHMARK))


@pytest.fixture(scope="module")
def part():
    train, valid = authors_ratings(0)
    return train.at(torch.arange(6000)), valid


def test_the_published_schedule(benchmark, part):
    model = benchmark["published_phase"](part[0], 0, steps=85)
    (level,) = levels_of(model.items)
    assert level.assignment.num_clusters == 9  # eight splits; the reassignment at step 80 empties none here
    assert model.users.weight.min().item() >= 0 and level.weight.min().item() >= 0
    assert mean_squared_error(model, part[0]) < float(part[0].values.var())


@pytest.mark.parametrize(("levels", "history", "own"), [(1, False, None), (5, True, None), (1, True, 1)])
def test_our_models_learn(benchmark, part, levels, history, own):
    model = benchmark["clustered"](levels, history, own, 8)(part[0], 0)
    assert sum(level.assignment.max_clusters for level in levels_of(model.items)) == 50
    assert levels_of(model.items)[0].personalised is (own is not None)
    assert mean_squared_error(model, part[1]) < 0.97 * float(part[1].values.var())


def test_the_clock(benchmark, part):
    seconds, busy, error = benchmark["time_to_goal"](*part)
    assert min(busy, seconds) > 0 and error < float(part[1].values.var())
