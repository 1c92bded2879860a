"""Events survive numbers of any scale, or are skipped and say so."""

import pytest
import torch
from factorisation import Problem

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.evidence import ModuleObjective, squared_error
from recbole_cel.evidence.numerics import NumericalError, cholesky, symmetric_eigen


def scale_rows(factor):
    def spoil(problem):
        with torch.no_grad():
            for table in [*problem.tables, problem.model.item]:
                table.weight *= factor

    return spoil


def fill(value):
    def spoil(problem):
        with torch.no_grad():
            problem.model.item.weight.fill_(value)

    return spoil


def labels(*values):
    def spoil(problem):
        problem.labels.copy_(torch.tensor(values)[torch.arange(len(problem.labels)) % len(values)])

    return spoil


def alike(problem):
    problem.users.fill_(3)


def separable(problem):
    """Labels that the outputs tell already, with outputs that are saturated."""
    scale_rows(100.0)(problem)
    outputs = problem.objective.outputs(torch.arange(len(problem.labels))).detach()
    problem.labels.copy_((outputs > 0).float())


def one_outlier(problem):
    """As a raw feature of one item that is far larger than all others."""
    with torch.no_grad():
        problem.model.item.weight[0] = 1e6


# Whether an event can do nothing but skip.
CASES = {
    "rows of 1e7": (scale_rows(1e7), None),
    "rows of 1e18": (scale_rows(1e18), None),
    "rows of 1e3": (scale_rows(1e3), None),
    "rows of 1e-12": (scale_rows(1e-12), False),
    "rows of nothing": (scale_rows(0.0), False),
    "infinite rows": (fill(torch.inf), True),
    "rows that are no numbers": (fill(torch.nan), True),
    "items all alike": (fill(1.0), False),
    "labels all one": (labels(1.0), False),
    "labels all nought": (labels(0.0), False),
    "one user": (alike, False),
    "saturated and right": (separable, None),
    "an outlier": (one_outlier, None),
}


@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_an_event_ends_whatever_the_scale(case, folds, mlp):
    spoil, must_skip = CASES[case]
    problem = Problem(0, start=2, folds=folds, mlp=mlp)
    spoil(problem)
    check_events(problem, folds, must_skip)


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, 1e15])
def test_targets_of_any_scale(scale, folds):
    problem = Problem(0, start=2, folds=folds)
    targets = problem.labels * scale
    problem.objective = ModuleObjective(
        problem.model, ["user", "item"], [problem.users, problem.items], targets, squared_error
    )
    check_events(problem, folds, must_skip=False)


def check_events(problem, folds, must_skip):
    fields = {"user": problem.tables, "item": [problem.model.item]}
    settings = ClusterSettings(folds=folds, split_gain=0.0, reassign_interval=1)
    clusters = ClusterOptimiser(fields, problem.objective, settings, steps_per_epoch=1)
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    events = [event for _ in range(2) for event in clusters.step()]
    assert {event.kind for event in events} >= {"joint split", "split"}
    if must_skip:
        assert all("not finite" in event.skipped and "skipped, " in str(event) for event in events)
    elif must_skip is False:
        assert not any("finite" in event.skipped or "factor" in event.skipped for event in events)
    if all(event.skipped for event in events):
        after = problem.model.state_dict()
        assert all(torch.equal(after[name], value) or value.isnan().any() for name, value in before.items())
    elif not must_skip:
        assert all(table.weight.isfinite().all() for tables in fields.values() for table in tables)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e150])
def test_factorisations_do_not_depend_on_the_scale(scale):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 4, 4, generator=generator, dtype=torch.float64)
    matrices = root @ root.mT
    values, vectors = symmetric_eigen(matrices * scale)
    assert torch.allclose(values / scale, torch.linalg.eigvalsh(matrices))
    assert torch.allclose(vectors * (values / scale).unsqueeze(1) @ vectors.mT, matrices)
    found = cholesky(matrices * scale)
    assert torch.allclose(found @ found.mT / scale, matrices)


def test_lost_ranks_are_made_up_for_and_what_is_no_number_is_said():
    flat = torch.ones(3, 4, 4, dtype=torch.float64)
    found = cholesky(flat)
    assert (
        torch.allclose(found @ found.mT, flat, atol=1e-3) and not torch.linalg.cholesky_ex(flat).info.eq(0).all()
    )
    for spoilt in (torch.nan, torch.inf):
        broken = torch.full((2, 2), spoilt)
        for factorise in (symmetric_eigen, cholesky):
            with pytest.raises(NumericalError, match="not finite"):
                factorise(broken)
