"""BG/NBD and Gamma-Gamma against simulation, numerical integration and the published numbers."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.optimize import minimize
from scipy.stats import beta, gamma, poisson

from recsys_lib.customers.lifetime import (
    SpendModel,
    VisitModel,
    chance_alive,
    chance_of_visit,
    expected_spend,
    expected_visits,
    fit_spend,
    fit_visits,
    spend_log_likelihood,
    visit_log_likelihood,
)

TRUE = VisitModel(1.4, 2.0, 0.9, 3.0)


def simulate(n: int, age: np.ndarray, horizon: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Visit by visit: a waiting time, then a coin that says whether the household drops out."""
    rng = np.random.default_rng(seed)
    rate, dropout = rng.gamma(TRUE.r, 1 / TRUE.alpha, n), rng.beta(TRUE.a, TRUE.b, n)
    clock, repeats, last, later, alive = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool)
    alive_at_age = np.ones(n, bool)
    while (alive & (clock < age + horizon)).any():
        clock += rng.exponential(1 / rate)
        seen, after = alive & (clock < age), alive & (clock >= age) & (clock < age + horizon)
        repeats += seen
        last = np.where(seen, clock, last)
        later += after
        alive &= rng.random(n) >= dropout
        alive_at_age &= alive | (clock >= age)
    return repeats, last, later, alive_at_age


AGE = np.random.default_rng(5).uniform(10, 30, 30_000)
REPEATS, LAST, LATER, ALIVE = simulate(30_000, AGE, 12.0)


@pytest.mark.parametrize("case", [(0, 0.0, 9.0), (3, 6.5, 9.0), (7, 8.9, 9.0)])
def test_the_likelihood_is_the_integral_over_rates_and_dropouts(case: tuple[int, float, float]) -> None:
    x, last, age = case

    def given(dropout: float, rate: float) -> float:
        alive = (1 - dropout) ** x * rate**x * np.exp(-rate * age)
        gone = dropout * (1 - dropout) ** (x - 1) * rate**x * np.exp(-rate * last) if x else 0.0
        mixed = gamma.pdf(rate, TRUE.r, scale=1 / TRUE.alpha) * beta.pdf(dropout, TRUE.a, TRUE.b)
        return (alive + gone) * mixed

    expected = dblquad(given, 0, 30, 0, 1)[0]
    found = np.exp(visit_log_likelihood(TRUE, np.array([x]), np.array([last]), np.array([age])))
    assert np.isclose(found[0], expected, rtol=1e-4)


def test_what_was_simulated_is_found_again() -> None:
    found = fit_visits(REPEATS, LAST, AGE)
    np.testing.assert_allclose(found, TRUE, rtol=0.12)
    more = np.array([visit_log_likelihood(m, REPEATS, LAST, AGE).sum() for m in (found, TRUE)])
    assert more[0] > more[1] > visit_log_likelihood(VisitModel(1.4, 2.0, 0.3, 3.0), REPEATS, LAST, AGE).sum()


def test_the_fit_is_the_top_whatever_the_rounding() -> None:
    """Many visits, few dropouts: a flat top. Another order of households is summed with other rounding."""
    data = 6 * REPEATS[:500], LAST[:500], AGE[:500]
    found = fit_visits(*data)
    np.testing.assert_allclose(fit_visits(*(column[::-1] for column in data)), found, rtol=3e-5)

    def loss(logs: np.ndarray) -> float:
        return -visit_log_likelihood(VisitModel(*np.exp(logs)), *data).mean()

    settings = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 10_000, "maxfev": 10_000}  # it needs no slopes
    top = minimize(loss, np.log(found) + 0.01, method="Nelder-Mead", options=settings)
    np.testing.assert_allclose(np.exp(top.x), found, rtol=3e-5)


def test_what_is_expected_is_what_the_simulation_does() -> None:
    later = expected_visits(TRUE, REPEATS, LAST, AGE, 12.0)
    alive = chance_alive(TRUE, REPEATS, LAST, AGE)
    comes = chance_of_visit(TRUE, REPEATS, LAST, AGE, 12.0)
    assert (alive[REPEATS == 0] == 1).all()
    for some in (REPEATS == 0, (REPEATS > 0) & (REPEATS < 5), REPEATS >= 5, AGE - LAST > 8, AGE - LAST < 2):
        error = 4 * LATER[some].std() / np.sqrt(some.sum())
        assert abs(later[some].mean() - LATER[some].mean()) < error
        assert abs(comes[some].mean() - (LATER[some] > 0).mean()) < 4 * 0.5 / np.sqrt(some.sum())
        assert abs(alive[some].mean() - ALIVE[some].mean()) < 4 * 0.5 / np.sqrt(some.sum())


def test_the_spend_likelihood_is_the_integral_over_households() -> None:
    model, visits, mean_spend = SpendModel(2.0, 3.5, 20.0), 4, 12.0

    def given(scale: float) -> float:  # the mean of n Gamma(p, ν) is Gamma(n p, n ν)
        density = gamma.pdf(mean_spend, visits * model.p, scale=1 / (visits * scale))
        return density * gamma.pdf(scale, model.q, scale=1 / model.gamma)

    expected = quad(given, 0, np.inf)[0]
    found = np.exp(spend_log_likelihood(model, np.array([visits]), np.array([mean_spend])))
    assert np.isclose(found[0], expected, rtol=1e-6)


def test_spends_are_found_again_and_drawn_towards_the_mean() -> None:
    rng, true = np.random.default_rng(2), SpendModel(2.0, 4.0, 30.0)
    visits = 1 + poisson.rvs(4, size=20_000, random_state=rng)
    scale = rng.gamma(true.q, 1 / true.gamma, len(visits))
    mean_spend = rng.gamma(true.p * visits, 1 / scale) / visits
    found = fit_spend(visits, mean_spend)
    np.testing.assert_allclose(found, true, rtol=0.1)
    following = true.p / scale  # the mean of the household's next spends
    expected = expected_spend(true, visits, mean_spend)
    for some in (visits == 1, visits > 6, mean_spend > 40):
        assert abs(expected[some].mean() / following[some].mean() - 1) < 0.05
    everybody = true.p * true.gamma / (true.q - 1)
    assert (np.abs(expected - everybody) < np.abs(mean_spend - everybody)).all()


def test_what_contradicts_itself_is_refused() -> None:
    one = np.ones(1)
    wrong = ((one, 2 * one, one), (one, 0 * one, one), (0 * one, one, one), (one, np.nan * one, one))
    for repeats, last, age in wrong:
        with pytest.raises(ValueError, match="0 ≤ last ≤ age"):
            fit_visits(repeats, last, age)
    for nobody in (0 * one, one[:0]):
        with pytest.raises(ValueError, match="nobody came again"):
            fit_visits(nobody, nobody, nobody)
    for visits, mean_spend in ((one, 0 * one), (one, np.nan * one), (one[:0], one[:0])):
        with pytest.raises(ValueError, match="mean spend above 0"):
            fit_spend(visits, mean_spend)


@pytest.mark.parametrize(("repeats", "horizon"), [(0, 5), (3, 12), (300, 1e4), (1_500, 52)])
def test_the_expectation_is_the_papers_formula_however_often_a_household_came(repeats, horizon) -> None:
    r, alpha, a, b = map(mpmath.mpf, TRUE)
    last, age = (50.0, 52.0) if repeats else (0.0, 52.0)
    ratio = (alpha + age) / (alpha + age + horizon)
    with mpmath.workdps(60):
        series = mpmath.hyp2f1(r + repeats, b + repeats, a + b + repeats - 1, 1 - ratio)
        gone = a / (b + repeats - 1) * ((alpha + age) / (alpha + last)) ** (r + repeats) if repeats else 0
        expected = (a + b + repeats - 1) / (a - 1) * (1 - ratio ** (r + repeats) * series) / (1 + gone)
    found = expected_visits(TRUE, np.array([repeats]), np.array([last]), np.array([age]), horizon)
    np.testing.assert_allclose(found, float(expected), rtol=1e-9)
