"""How often a household will come, and what it will spend: BG/NBD and Gamma-Gamma, by maximum likelihood.

Times are in the unit of the caller, the same everywhere: weeks in notebook 07.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1


class VisitModel(NamedTuple):
    """The four numbers of BG/NBD: visit rates are Gamma(r, α), dropout probabilities Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float


class SpendModel(NamedTuple):
    """The three numbers of Gamma-Gamma: spends are Gamma(p, ν), and ν is Gamma(q, γ) over households."""

    p: float
    q: float
    gamma: float


Model = TypeVar("Model", VisitModel, SpendModel)


def visit_log_likelihood(
    model: VisitModel, repeats: np.ndarray, last: np.ndarray, age: np.ndarray
) -> np.ndarray:
    """Return the log-likelihood of each household's visits under BG/NBD, shape (n,).

    While alive, a household visits at a constant rate λ; after each visit it drops out with probability p.
    Both differ between households: λ by a gamma, p by a beta distribution, independent of each other.

    `repeats` are the visits after the first one; `last` and `age` the times from the first visit to the last
    one (0 without repeats) and to the end of the observation.

    References
    ----------
    Fader, Hardie & Lee (2005), "Counting Your Customers the Easy Way: An Alternative to the Pareto/NBD
    Model", Marketing Science 24(2).
    """
    r, alpha, a, b = model
    common = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    alive = betaln(a, b + repeats) - (r + repeats) * np.log(alpha + age)
    # Without a repeat there was no visit to drop out after: that term is 0, its logarithm -inf.
    gone = betaln(a + 1, np.maximum(b + repeats - 1, 1e-9)) - (r + repeats) * np.log(alpha + last)
    return common + np.logaddexp(alive, np.where(repeats > 0, gone, -np.inf))


def fit_visits(repeats: np.ndarray, last: np.ndarray, age: np.ndarray) -> VisitModel:
    """Estimate BG/NBD, with the arguments of `visit_log_likelihood`; refuse times that are out of order."""
    if not ((last >= 0) & (last <= age) & ((repeats == 0) == (last == 0))).all():
        raise ValueError("0 ≤ last ≤ age must hold, and last is 0 exactly where there are no repeats")
    if not repeats.sum() > 0:
        raise ValueError("nobody came again: without any repeat there is no rate of visits to estimate")
    start = VisitModel(1.0, age.sum() / repeats.sum(), 1.0, 10.0)
    return _maximize(visit_log_likelihood, start, repeats, last, age)


def chance_alive(model: VisitModel, repeats: np.ndarray, last: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return the probability that each household has not dropped out yet, shape (n,)."""
    r, alpha, a, b = model
    odds_gone = a / np.maximum(b + repeats - 1, 1e-9) * ((alpha + age) / (alpha + last)) ** (r + repeats)
    return np.where(repeats > 0, 1 / (1 + odds_gone), 1.0)


def chance_of_visit(
    model: VisitModel, repeats: np.ndarray, last: np.ndarray, age: np.ndarray, horizon: float
) -> np.ndarray:
    """Return the probability that each household comes at all in the `horizon` to come, shape (n,)."""
    none = ((model.alpha + age) / (model.alpha + age + horizon)) ** (model.r + repeats)
    return chance_alive(model, repeats, last, age) * (1 - none)


def expected_visits(
    model: VisitModel, repeats: np.ndarray, last: np.ndarray, age: np.ndarray, horizon: float
) -> np.ndarray:
    """Return the visits to expect of each household in the `horizon` after its observation, shape (n,).

    `a` = 1 exactly has no closed form; a fit never meets it.
    """
    r, alpha, a, b = model
    z = horizon / (alpha + age + horizon)
    # Euler's form of the paper's 2F1, whose factors would overflow for many visits or a long horizon.
    stays = (1 - z) ** (a - 1) * hyp2f1(a + b - 1 - r, a - 1, a + b + repeats - 1, z)
    alive = chance_alive(model, repeats, last, age)
    return (a + b + repeats - 1) / (a - 1) * (1 - stays) * alive


def spend_log_likelihood(model: SpendModel, visits: np.ndarray, mean_spend: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of each household's mean spend per visit under Gamma-Gamma, shape (n,).

    The mean, in US dollars above 0, is of at least one visit.

    References
    ----------
    Fader & Hardie (2013), "The Gamma-Gamma Model of Monetary Value".
    """
    p, q, gamma = model
    shape = p * visits
    log_density = -betaln(shape, q) + q * np.log(gamma) + (shape - 1) * np.log(mean_spend)
    return log_density + shape * np.log(visits) - (shape + q) * np.log(gamma + visits * mean_spend)


def fit_spend(visits: np.ndarray, mean_spend: np.ndarray) -> SpendModel:
    """Estimate Gamma-Gamma, with the arguments of `spend_log_likelihood`; refuse a spend not above 0."""
    if not (len(visits) and (mean_spend > 0).all() and (visits >= 1).all()):
        raise ValueError("every household needs at least one visit, and a mean spend above 0")
    start = SpendModel(2.0, 3.0, float(np.mean(mean_spend)))
    return _maximize(spend_log_likelihood, start, visits, mean_spend)


def expected_spend(model: SpendModel, visits: np.ndarray, mean_spend: np.ndarray) -> np.ndarray:
    """Return the spend to expect of each household's next visit: its own mean, drawn towards everybody's."""
    p, q, gamma = model
    return p * (gamma + visits * mean_spend) / (p * visits + q - 1)


def _maximize(log_likelihood: Callable[..., np.ndarray], start: Model, *data: np.ndarray) -> Model:
    # On the logarithms of the parameters, which must all be above 0; the bounds keep exp from overflowing.
    bounds = [(-9, 12)] * len(start)

    def loss(logs: np.ndarray) -> float:
        return -log_likelihood(type(start)(*np.exp(logs)), *data).mean()

    found = minimize(loss, np.log(start), method="L-BFGS-B", bounds=bounds)
    if not (found.success and np.isfinite(found.fun)):
        raise ValueError(f"no maximum of the likelihood was found: {found.message}")
    # Once more, with slopes from both sides: else where it stops hangs on the machine's rounding. At the
    # maximum a line search may find nothing better and give up; that is no failure.
    close = {"ftol": 1e-13, "gtol": 1e-9}
    found = minimize(loss, found.x, method="L-BFGS-B", bounds=bounds, jac="3-point", options=close)
    return type(start)(*np.exp(found.x))
