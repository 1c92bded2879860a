import pytest
import torch

from recbole_cel.evidence import prior
from recbole_cel.evidence.gauss_newton import Quadratic
from recbole_cel.evidence.numerics import cholesky
from recbole_cel.evidence.prior import (
    FIRST_DEVIATION,
    Prior,
    accelerate,
    exponential,
    fit_prior,
    logarithm,
    num_entities,
)
from recbole_cel.evidence.whitening import Whitening


def observed(entities, interactions, mean, covariance, noise, seed=0):
    """Rows drawn from a normal distribution, and losses of entities that have them, seen through noise."""
    generator = torch.Generator().manual_seed(seed)
    width = len(mean)
    factor = torch.linalg.cholesky(covariance)
    rows = mean + torch.randn(entities, width, generator=generator) @ factor.T
    inputs = torch.randn(entities, interactions, width, generator=generator)
    outputs = (inputs * rows.unsqueeze(1)).sum(2)
    outputs += noise**0.5 * torch.randn(entities, interactions, generator=generator)
    # Squared errors, as a function of the row.
    curvature = 2 * inputs.transpose(1, 2) @ inputs
    return rows, Quadratic(-2 * (inputs * outputs.unsqueeze(2)).sum(1), curvature)


def expected(prior, losses):
    """Rows of the least loss, the prior's included."""
    pull = prior.precision @ prior.mean - losses.linear
    return torch.cholesky_solve(pull.unsqueeze(2), cholesky(losses.curvature + prior.precision)).squeeze(2)


MEAN = torch.tensor([1.0, -2.0])
COVARIANCE = torch.tensor([[0.5, 0.2], [0.2, 0.3]])


@pytest.mark.parametrize(("interactions", "noise"), [(2, 0.1), (10, 2.0)])
def test_mean_and_covariance_are_found(interactions, noise):
    _, losses = observed(4000, interactions, MEAN, COVARIANCE, noise)
    prior = fit_prior(losses, dispersion=2 * noise)
    assert torch.allclose(prior.mean, MEAN, atol=0.1)
    assert torch.allclose(2 * noise * prior.precision.inverse(), COVARIANCE, atol=0.1)


@pytest.mark.parametrize(("width", "noise"), [(1, 16.0), (2, 16.0), (5, 4.0)])
def test_the_covariance_is_found_where_each_entity_says_little(width, noise):
    _, losses = observed(4000, 3, torch.zeros(width), torch.eye(width), noise)
    found = 2 * noise * fit_prior(losses, dispersion=2 * noise).precision.inverse()
    assert 0.75 < float(found.diagonal().mean()) < 1.25


def test_wide_rows_have_the_prior_of_the_directions_that_count():
    """Outputs depend on five directions of forty; the others keep what the prior begins with."""
    width, narrow = 40, 5
    assert width > prior.MAX_DIRECTIONS
    _, losses = observed(600, 6, torch.ones(narrow), torch.eye(narrow), noise=1.0)
    axes = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(1)))[0]
    some, others = axes[:, :narrow], axes[:, narrow:]
    wide = Quadratic(losses.linear @ some.T, some @ losses.curvature @ some.T)
    exact, found = fit_prior(losses, dispersion=2.0), fit_prior(wide, dispersion=2.0)
    torch.testing.assert_close(some.T @ found.precision @ some, exact.precision, atol=0.02, rtol=0.02)
    torch.testing.assert_close(some.T @ found.mean, exact.mean, atol=0.01, rtol=0.01)
    left = others.T @ found.precision @ others
    torch.testing.assert_close(left, 2 / FIRST_DEVIATION**2 * torch.eye(width - narrow), atol=0.01, rtol=1e-3)


def test_expected_rows_beat_those_of_the_least_loss_where_there_is_little_evidence():
    rows, losses = observed(2000, 2, MEAN, COVARIANCE, noise=1.0)
    told = expected(fit_prior(losses, dispersion=2.0), losses)
    least = torch.linalg.solve(losses.curvature, -losses.linear)
    errors = [(found - rows).square().sum(1).mean() for found in (told, least)]
    assert errors[0] < 0.6 < 1.0 < errors[1]


def test_where_entities_say_nothing_the_prior_is_finite():
    prior = fit_prior(Quadratic(torch.zeros(5, 3), torch.zeros(5, 3, 3)), dispersion=1.0)
    assert prior.precision.isfinite().all() and prior.mean.abs().max() < 1e-6


def test_a_prior_that_rounding_swallows_leaves_rows_of_the_least_loss():
    """As where squared errors are nearly zero: the curvature has rank one, and nothing else counts."""
    generator = torch.Generator().manual_seed(0)
    inputs, rows = torch.randn(50, 6, generator=generator), torch.randn(50, 6, generator=generator)
    curvature = inputs.unsqueeze(2) * inputs.unsqueeze(1)
    losses = Quadratic(-(curvature @ rows.unsqueeze(2)).squeeze(2), curvature)
    prior = Prior(torch.zeros(6), 1e-12 * torch.eye(6))
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.cholesky(losses.curvature + prior.precision)
    found = expected(prior, losses)
    assert torch.allclose((inputs * found).sum(1), (inputs * rows).sum(1), rtol=1e-2, atol=1e-2)
    fitted = fit_prior(losses, dispersion=1e-10)
    assert fitted.precision.isfinite().all() and expected(fitted, losses).isfinite().all()


def test_fewer_entities_are_enough_for_wide_rows():
    assert num_entities(17) > num_entities(65) == 256


def test_extrapolation_is_far_ahead_of_as_many_steps(monkeypatch):
    """Where entities say little of a direction, steps of expectation maximisation are tiny."""
    monkeypatch.setattr("recbole_cel.evidence.prior.CYCLES", 3)
    target, slowness = torch.tensor([[2.0, 0.3], [0.3, 0.5]], dtype=torch.float64), 0.97
    mean = torch.tensor([1.0, -1.0], dtype=torch.float64)
    steps = []

    def step(m, c):
        steps.append(1)
        covariance = exponential(logarithm(target) + slowness * (logarithm(c) - logarithm(target)))
        return mean + slowness * (m - mean), covariance, 0.0

    start = torch.zeros(2, dtype=torch.float64), 0.09 * torch.eye(2, dtype=torch.float64)
    found, covariance = accelerate(step, *start)
    assert len(steps) == 9
    plain = start
    for _ in range(9):
        plain = step(*plain)[:2]
    assert (found - mean).norm() < 0.1 * (plain[0] - mean).norm()
    assert (covariance - target).norm() < 0.1 * (plain[1] - target).norm()


def test_what_is_less_likely_is_not_extrapolated(monkeypatch):
    """Variances that would be taken for nothing stay."""
    monkeypatch.setattr("recbole_cel.evidence.prior.CYCLES", 3)
    mean = torch.zeros(1, dtype=torch.float64)

    def step(m, c):
        return m, 0.5 * c, float(c > 1e-4)

    assert float(accelerate(step, mean, torch.eye(1, dtype=torch.float64))[1]) > 1e-4
    assert float(accelerate(lambda m, c: (m, 0.5 * c, 0.0), mean, torch.eye(1, dtype=torch.float64))[1]) < 1e-4


def test_logarithms_of_matrices():
    matrix = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    assert torch.allclose(exponential(logarithm(matrix)), matrix)
    assert torch.allclose(torch.matrix_exp(logarithm(matrix)), matrix)
    # What no variance can be is not followed.
    assert exponential(1e6 * matrix).isfinite().all() and logarithm(0 * matrix).isfinite().all()


@pytest.mark.parametrize("scale", [1e-6, 1.0])
def test_half_the_squared_distance_of_points_is_the_loss_and_the_prior_has_no_correlations(scale):
    curvature = scale * torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    prior = Prior(torch.tensor([0.3, -0.4]), torch.tensor([[3.0, -1.0], [-1.0, 2.0]]))
    whitening = Whitening.of(curvature, prior)
    rows = torch.randn(4, 2)
    points = whitening.whiten(rows)
    assert torch.allclose(points.square().sum(1), torch.einsum("gd,de,ge->g", rows, curvature, rows), rtol=1e-3)
    assert torch.allclose(whitening.unwhiten(points), rows, atol=1e-5)
    away, apart = rows - prior.mean, points - whitening.mean
    expected = torch.einsum("gd,de,ge->g", away, prior.precision, away)
    assert torch.allclose((whitening.precision * apart.square()).sum(1), expected, rtol=1e-3)
    # A step along the pull changes the loss by as much.
    gradients, steps = torch.randn(4, 2), torch.randn(4, 2)
    pulls = whitening.whiten_gradients(gradients)
    assert torch.allclose((pulls * whitening.whiten(steps)).sum(1), (gradients * steps).sum(1), atol=1e-4)
    assert torch.allclose(whitening.unwhiten_gradients(pulls), gradients, atol=1e-4)


def test_a_curvature_of_lower_rank_makes_a_metric():
    curvature = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    whitening = Whitening.of(curvature, Prior(torch.zeros(2), torch.eye(2)))
    rows = torch.randn(4, 2)
    assert torch.allclose(whitening.unwhiten(whitening.whiten(rows)), rows, atol=1e-3)


def test_inverses_are_averaged_alike_one_by_one_and_in_one_go():
    values = torch.randn(30, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    factors = cholesky(values @ values.mT)
    assert torch.allclose(prior._mean_inverse(factors), prior._mean_inverse_of_all(factors))
