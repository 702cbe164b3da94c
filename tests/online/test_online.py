"""Click model and tests of two arms, against enumeration and closed forms."""

import numpy as np
import pytest
from scipy.stats import binom, chi2_contingency

from recsys_lib.online.ab_tests import (
    peeking_p_values,
    two_proportion_p_value,
    two_proportion_power,
    two_proportion_sample_size,
)
from recsys_lib.online.clicks import simulate_clicks

ATTRACTION = np.array([[0.9, 0.2, 0.5], [0.1, 0.7, 0.4]])
EXAMINATION = np.array([1.0, 0.5, 0.25])


def test_simulated_clicks_have_the_rates_of_the_model():
    many = np.repeat(ATTRACTION, 40_000, axis=0)
    clicks = simulate_clicks(many, EXAMINATION, np.random.default_rng(0)).reshape(2, 40_000, 3)
    np.testing.assert_allclose(clicks.mean(axis=1), ATTRACTION * EXAMINATION, atol=0.01)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="attraction must hold probabilities"):
        simulate_clicks(np.array([[bad]]), np.array([1.0]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="examination must hold probabilities"):
        simulate_clicks(np.array([[0.5]]), np.array([bad]), np.random.default_rng(0))


@pytest.mark.parametrize(("a", "b", "n"), [(30, 45, 200), (3, 1, 50), (100, 100, 250)])
def test_p_value_is_that_of_the_chi_square_test(a, b, n):
    table = [[a, n - a], [b, n - b]]
    expected = chi2_contingency(table, correction=False).pvalue
    assert two_proportion_p_value(a, b, n) == pytest.approx(expected)


def test_nobody_and_everybody_show_no_difference():
    np.testing.assert_array_equal(two_proportion_p_value([0, 9], [0, 9], 9), [1, 1])


@pytest.mark.parametrize("counts", [(12, 3, 10), (3, 12, 10), (-1, 3, 10), (0, 0, 0), ([1, np.nan], 1, 9)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="successes must lie between 0 and n"):
        two_proportion_p_value(*counts)


@pytest.mark.parametrize(("rate_a", "rate_b", "n"), [(0.3, 0.4, 300), (0.5, 0.6, 400), (0.2, 0.2, 400)])
def test_power_by_enumeration_of_all_outcomes(rate_a, rate_b, n):
    counts = np.arange(n + 1)
    chance = np.outer(binom.pmf(counts, n, rate_a), binom.pmf(counts, n, rate_b))
    found = two_proportion_p_value(counts[:, None], counts[None, :], n) <= 0.05
    assert two_proportion_power(rate_a, rate_b, n) == pytest.approx((chance * found).sum(), abs=0.01)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_sample_size_is_the_smallest_with_that_power(power):
    n = two_proportion_sample_size(0.1, 0.12, power)
    assert two_proportion_power(0.1, 0.12, n) >= power - 1e-9
    assert two_proportion_power(0.1, 0.12, n - 1) < power
    assert two_proportion_sample_size(0.12, 0.1, power) == n


def test_equal_rates_have_no_sample_size():
    assert two_proportion_power(0.1, 0.1, 1000) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no number of users"):
        two_proportion_sample_size(0.1, 0.1)


@pytest.mark.parametrize("rates", [(0, 0.1), (0.1, 1), (0.1, np.nan)])
def test_rates_must_be_rates(rates):
    with pytest.raises(ValueError, match="between 0 and 1"):
        two_proportion_sample_size(*rates)


def test_peeking_raises_false_alarms_and_the_last_look_does_not():
    p = peeking_p_values(0.2, 0.2, 2_000, 10, 4_000, np.random.default_rng(0))
    assert p.shape == (4_000, 10)
    assert (p[:, -1] <= 0.05).mean() == pytest.approx(0.05, abs=0.012)
    # 0.193 is the known chance for ten looks at the 5 % level (Armitage, McPherson & Rowe 1969).
    assert (p <= 0.05).any(axis=1).mean() == pytest.approx(0.193, abs=0.02)


def test_looks_must_fit_the_users():
    with pytest.raises(ValueError, match="looks must be between 1 and"):
        peeking_p_values(0.2, 0.2, 5, 6, 10, np.random.default_rng(0))
