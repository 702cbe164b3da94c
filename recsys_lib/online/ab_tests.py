"""Tests of two arms: p-value, power, sample size, and what peeking does."""

import numpy as np
from scipy.stats import norm


def two_proportion_p_value(
    successes_a: np.ndarray | int, successes_b: np.ndarray | int, n: np.ndarray | int
) -> np.ndarray:
    """Return the two-sided p-value of the pooled z-test for two equally large arms.

    ``z = (p_a − p_b) / √(2 p̄ (1 − p̄) / n)`` with ``p̄`` the rate of both arms together; the p-value is 1 where
    nobody or everybody had a success.

    Parameters
    ----------
    n : int or int array
        Users in each arm.
    """
    a, b, n = (np.asarray(counts) for counts in (successes_a, successes_b, n))
    if not ((np.minimum(a, b) >= 0) & (np.maximum(a, b) <= n) & (n > 0)).all():
        raise ValueError("successes must lie between 0 and n, the users of an arm, and n must be above 0")
    difference, pooled = (a - b) / n, (a + b) / (2 * n)
    error = np.sqrt(2 * pooled * (1 - pooled) / n)
    z = np.divide(difference, error, out=np.zeros(np.shape(difference)), where=error > 0)
    return 2 * norm.sf(np.abs(z))


def two_proportion_power(rate_a: float, rate_b: float, n: float, alpha: float = 0.05) -> float:
    """Compute the chance that the two-sided z-test with n users per arm sees a difference of true rates.

    Uses the normal approximation; where the rates are equal, the result is `alpha`.

    References
    ----------
    Fleiss, Levin & Paik (2003), "Statistical Methods for Rates and Proportions", chapter 4.
    """
    _check_rates(rate_a, rate_b, alpha)
    mean = (rate_a + rate_b) / 2
    critical = norm.isf(alpha / 2) * np.sqrt(2 * mean * (1 - mean))
    gap, spread = abs(rate_a - rate_b) * np.sqrt(n), np.sqrt(rate_a * (1 - rate_a) + rate_b * (1 - rate_b))
    return float(norm.sf((critical - gap) / spread) + norm.cdf((-critical - gap) / spread))


def two_proportion_sample_size(rate_a: float, rate_b: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the users per arm that the two-sided z-test needs to see a difference with the given power.

    ``n = (z_{1−α/2} √(2 p̄ (1 − p̄)) + z_power √(p_a (1 − p_a) + p_b (1 − p_b)))² / (p_a − p_b)²``
    rounded up.

    Examples
    --------
    >>> two_proportion_sample_size(0.10, 0.12)
    3841
    """
    _check_rates(rate_a, rate_b, alpha, power)
    if rate_a == rate_b:
        raise ValueError(f"no number of users shows a difference between {rate_a} and {rate_b}")
    mean = (rate_a + rate_b) / 2
    variance = rate_a * (1 - rate_a) + rate_b * (1 - rate_b)
    root = norm.isf(alpha / 2) * np.sqrt(2 * mean * (1 - mean)) + norm.isf(1 - power) * np.sqrt(variance)
    return int(np.ceil(root**2 / (rate_a - rate_b) ** 2))


def peeking_p_values(
    rate_a: float, rate_b: float, n: int, looks: int, n_experiments: int, rng: np.random.Generator
) -> np.ndarray:
    """Simulate experiments that are looked at again and again while they run.

    Parameters
    ----------
    rate_a, rate_b : float
        True rates of the arms.
    n : int
        Users per arm at the end.
    looks : int
        At equal distances; the last one is at the end.

    Returns
    -------
    np.ndarray, shape (n_experiments, looks)
        What `two_proportion_p_value` says at each look.
    """
    if not 1 <= looks <= n:
        raise ValueError(f"looks must be between 1 and the number of users, {n}; got {looks}")
    ends = np.round(np.arange(1, looks + 1) * n / looks).astype(int)
    steps = np.diff(ends, prepend=0)
    counts = [
        rng.binomial(steps, rate, size=(n_experiments, looks)).cumsum(axis=1) for rate in (rate_a, rate_b)
    ]
    return two_proportion_p_value(*counts, ends)


def _check_rates(*rates: float) -> None:
    for rate in rates:
        if not 0 < rate < 1:
            raise ValueError(f"rates, power and alpha must lie between 0 and 1, got {rate}")
