"""Privacy's noise and its price against definitions, integrals and simulations."""

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.sparse import csr_array, random_array

from recsys_lib.data.privacy import (
    clip_rows,
    gaussian_delta,
    gaussian_noise,
    private_counts,
    private_gram,
    renyi,
    sgd_epsilon,
)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("noise", [0.5, 2.0, 8.0])
def test_gaussian_delta_equals_the_integral_of_its_definition(epsilon, noise):
    """δ = ∫ max(0, p(x) − e^ε q(x)) dx for two Gaussians one sensitivity apart."""
    x = np.linspace(-12 * noise, 12 * noise + 1, 400_001)
    p, q = stats.norm.pdf(x, 1, noise), stats.norm.pdf(x, 0, noise)
    whole = integrate.trapezoid(np.maximum(p - np.exp(epsilon) * q, 0), x)
    np.testing.assert_allclose(gaussian_delta(epsilon, noise), whole, rtol=1e-4, atol=1e-9)


def test_gaussian_noise_is_the_least_that_is_private():
    for epsilon in (0.05, 0.5, 3.0, 20.0):
        noise = gaussian_noise(epsilon, 1e-5)
        assert np.isclose(gaussian_delta(epsilon, noise), 1e-5, rtol=1e-6)
        assert gaussian_delta(epsilon, 0.99 * noise) > 1e-5
    assert gaussian_noise(1, 1e-5) < np.sqrt(2 * np.log(1.25 / 1e-5))  # the textbook's, for ε ≤ 1


def test_clipping_shortens_long_rows_only():
    rows = csr_array([[3.0, 4, 0], [0.3, 0.4, 0], [0, 0, 0]])
    np.testing.assert_allclose(clip_rows(rows, 1).toarray(), [[0.6, 0.8, 0], [0.3, 0.4, 0], [0, 0, 0]])


def test_private_counts_limit_what_a_household_can_change():
    rows = random_array((50, 30), density=0.5, format="csr", rng=np.random.default_rng(0))
    rows = csr_array((np.ones_like(rows.data), rows.indices, rows.indptr), shape=rows.shape)
    without_noise = private_counts(rows, 1e12, 4, np.random.default_rng(1))
    assert round(without_noise.sum()) == np.minimum(np.diff(rows.indptr), 4).sum()
    whole = private_counts(rows, 1e12, 30, np.random.default_rng(1))
    np.testing.assert_allclose(whole, np.bincount(rows.indices, minlength=30), atol=1e-6)
    noise = np.stack([private_counts(rows, 2, 30, np.random.default_rng(s)) for s in range(300)]) - whole
    assert np.isclose(np.abs(noise).mean(), 30 / 2, rtol=0.05)  # the mean size of Laplace noise is its scale
    drawn = np.mean(
        [private_counts(rows[[0]], 1e12, 4, np.random.default_rng(s)) for s in range(500)], axis=0
    )
    mine = rows[[0]].indices
    assert np.abs(drawn[mine] - 4 / len(mine)).max() < 0.12  # every item of a household has the same chance


def test_private_gram_is_the_gram_of_clipped_rows_plus_noise_of_the_right_size():
    rows = random_array((40, 12), density=0.4, format="csr", rng=np.random.default_rng(0))
    clipped = clip_rows(rows, 0.8).toarray()
    found = private_gram(rows, 1e7, 1e-3, 0.8, np.random.default_rng(0))
    np.testing.assert_allclose(found, clipped.T @ clipped, atol=0.01)
    noisy = private_gram(rows, 1.0, 1e-3, 0.8, np.random.default_rng(0))
    np.testing.assert_allclose(noisy, noisy.T)
    assert np.linalg.eigvalsh(noisy).min() > -1e-8
    many = csr_array(np.tile(np.eye(12), (2000, 1)))  # no eigenvalue comes near 0, so that the noise is whole
    drawn = [
        private_gram(many, 1.0, 1e-3, 1.0, np.random.default_rng(s)) - 2000 * np.eye(12) for s in range(40)
    ]
    upper = np.stack(drawn)[:, *np.triu_indices(12)]
    assert np.isclose(upper.std(), gaussian_noise(1.0, 1e-3), rtol=0.05)


@pytest.mark.parametrize(("noise", "share"), [(0.8, 0.1), (1.5, 0.01), (3.0, 0.5), (2.0, 1.0)])
@pytest.mark.parametrize("order", [2, 5, 16])
def test_renyi_equals_its_integral(noise, share, order):
    """E_q[(p/q)^α] with q = N(0, σ²) and p = (1 − s) N(0, σ²) + s N(1, σ²)."""
    x = np.linspace(-20 * noise, 20 * noise + 4 * order, 400_001)
    ratio = np.logaddexp(
        np.log1p(-share) if share < 1 else -np.inf, np.log(share) + (2 * x - 1) / (2 * noise**2)
    )
    mean = integrate.trapezoid(np.exp(order * ratio + stats.norm.logpdf(x, 0, noise)), x)
    np.testing.assert_allclose(renyi(order, noise, share), np.log(mean) / (order - 1), rtol=1e-5)


def test_sgd_epsilon_bounds_the_exact_cost_of_plain_gaussians():
    """Without sampling, T steps of noise σ are one of σ / √T, whose δ is known exactly."""
    for noise, steps in ((2.0, 1), (8.0, 10), (20.0, 50)):
        epsilon = sgd_epsilon(noise, 1.0, steps, 1e-5)
        exact = gaussian_delta(epsilon, noise / np.sqrt(steps))
        assert exact <= 1e-5
        assert gaussian_delta(0.8 * epsilon, noise / np.sqrt(steps)) > 1e-5  # and not by much


def test_sgd_epsilon_grows_with_steps_and_share_and_falls_with_noise():
    base = sgd_epsilon(1.0, 0.1, 100, 1e-4)
    assert sgd_epsilon(1.0, 0.1, 200, 1e-4) > base > sgd_epsilon(2.0, 0.1, 100, 1e-4)
    assert sgd_epsilon(1.0, 0.2, 100, 1e-4) > base > sgd_epsilon(1.0, 0.1, 100, 1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_noise(0, 1e-5), "epsilon must be a finite number above 0, got 0"),
        (lambda: gaussian_noise(float("nan"), 1e-5), "epsilon"),
        (lambda: gaussian_noise(1, 1), "delta must be between 0 and 1"),
        (lambda: gaussian_noise(1, 0), "delta"),
        (lambda: sgd_epsilon(1, 0.1, 10, 1.5), "delta"),
        (lambda: sgd_epsilon(0, 0.1, 10, 1e-5), "noise > 0"),
        (lambda: sgd_epsilon(1, 1.1, 10, 1e-5), "share"),
        (lambda: clip_rows(csr_array((1, 1)), 0), "clip must be above 0, got 0"),
        (lambda: private_gram(csr_array((1, 1)), 1, 1e-5, -1, np.random.default_rng(0)), "clip"),
        (lambda: private_counts(csr_array((1, 1)), -1, 1, np.random.default_rng(0)), "epsilon"),
        (lambda: private_counts(csr_array((1, 1)), 1, 0, np.random.default_rng(0)), "limit"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
