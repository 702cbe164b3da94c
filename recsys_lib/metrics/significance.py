"""How sure a measured difference is: bootstrap intervals, paired permutation test, Holm's correction."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# Random draws are made in blocks of this many numbers, so memory is bounded whatever the number of users.
BLOCK_DRAWS = 1 << 22


class Interval(NamedTuple):
    """An estimate, the ends of its confidence interval, and the number of values behind it."""

    value: float
    low: float
    high: float
    n: int


def bootstrap_interval(
    values: Any,
    *,
    groups: np.ndarray | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> Interval:
    """Estimate a mean and its confidence interval by the percentile bootstrap.

    Draws `n` values with replacement, takes the mean, repeats, and returns the quantiles
    ``(1 - confidence) / 2`` and ``(1 + confidence) / 2`` of those means [1]_.

    Parameters
    ----------
    values : array or torch tensor, shape (n,)
        Independent values, one per user as from ``ranking_metrics(..., per_user=True)``; NaN is left out.
    groups : array, shape (n,), optional
        Where values are not independent: the id of each value's user, household or query. Whole groups are
        then resampled (cluster bootstrap [2]_); values of a group resemble each other, and resampling them
        one by one would make the interval too narrow.
    n_resamples : int
        At 2000 the ends of a 95 % interval vary from seed to seed with a standard deviation of about 1.5 % of
        its width.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        ``value`` (the mean), ``low``, ``high``, ``n`` (values used).

    References
    ----------
    .. [1] Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.
    .. [2] Davison & Hinkley (1997), "Bootstrap Methods and their Application", section 3.8.

    Examples
    --------
    >>> interval = bootstrap_interval([0.0, 1.0, 1.0, 0.0, float("nan")] * 50)
    >>> interval.value, interval.n
    (0.5, 200)
    >>> interval.low < 0.45 and 0.55 < interval.high
    True
    """
    vector = _vector(values, "values")
    known = ~np.isnan(vector)
    sample = _not_empty(vector[known], "values")
    check_resampling(n_resamples, confidence)
    rng = np.random.default_rng(seed)
    if groups is not None:
        codes = np.unique(check_groups(groups, len(vector))[known], return_inverse=True)[1]
        sums, sizes = np.bincount(codes, sample), np.bincount(codes)  # of each group: all that a mean needs
        drawn = (resample_weights(len(sizes), size, rng) for size in blocks(n_resamples, len(sizes)))
        means = [(weights @ sums) / (weights @ sizes) for weights in drawn]
    else:
        means = _drawn_means(sample, n_resamples, rng)
    return percentile_interval(float(sample.mean()), np.concatenate(means), confidence, len(sample))


def bootstrap_difference(
    a: Any, b: Any, *, n_resamples: int = 2000, confidence: float = 0.95, seed: int | np.random.Generator = 0
) -> Interval:
    """Estimate ``mean(a) - mean(b)`` over the same users and its interval by the paired percentile bootstrap.

    Users are resampled, both values of a user together: what makes a user hard for both models cancels, so
    the interval is narrower than two separate ones suggest.

    Parameters
    ----------
    a, b : array or torch tensor, shape (n_users,)
        The same metric of two models for the same users in the same order. NaN in both is left out.
    n_resamples, confidence, seed
        As in `bootstrap_interval`.

    Examples
    --------
    >>> a, b = [0.9, 0.5, 0.7, 0.3], [0.8, 0.4, 0.6, 0.2]
    >>> interval = bootstrap_difference(a, b)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.1, 0.1)
    """
    return bootstrap_interval(
        _paired_differences(a, b), n_resamples=n_resamples, confidence=confidence, seed=seed
    )


def paired_permutation_test(
    a: Any, b: Any, *, n_permutations: int = 10_000, seed: int | np.random.Generator = 0
) -> float:
    """Test whether two models are equally good, by swapping them at random within users.

    If the models were exchangeable, each user's difference could as well have had the other sign. The
    p-value is the share of random sign choices whose mean difference is at least as far from zero as the
    observed one, ``(1 + count) / (1 + n_permutations)``: counting the observed choice too keeps the test
    valid and p above zero [1]_ [2]_.

    Parameters
    ----------
    a, b : array or torch tensor, shape (n_users,)
        The same metric of two models for the same users in the same order. NaN in both is left out.
    n_permutations : int
        Number of random sign choices; the smallest possible p is ``1 / (1 + n_permutations)``.

    Returns
    -------
    float
        The two-sided p-value, in (0, 1]. For several comparisons, correct with `holm`.

    References
    ----------
    .. [1] Smucker, Allan & Carterette (2007), "A comparison of statistical significance tests for
       information retrieval evaluation", CIKM.
    .. [2] Phipson & Smyth (2010), "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. 9(1).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a = rng.random(200)
    >>> paired_permutation_test(a, a)
    1.0
    >>> paired_permutation_test(a + 0.1, a, n_permutations=999)
    0.001
    """
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1, got {n_permutations}")
    differences = _paired_differences(a, b)
    differences = differences[differences != 0]  # a zero has no sign to flip
    total = differences.sum()
    # Equal sums added in another order differ in the last bits; they must count as equal.
    threshold = abs(total) - 1e-12 * np.abs(differences).sum()
    rng = np.random.default_rng(seed)
    as_extreme = 0
    for size in blocks(n_permutations, len(differences)):
        packed = rng.integers(256, size=(size, -(-len(differences) // 8)), dtype=np.uint8)
        keeps_sign = np.unpackbits(packed, axis=1, count=len(differences))
        as_extreme += int(np.sum(np.abs(2 * (keeps_sign @ differences) - total) >= threshold))
    return (1 + as_extreme) / (1 + n_permutations)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust p-values of several tests by Holm's step-down method.

    With the m p-values in ascending order, ``adjusted_(i) = max_{j≤i} min(1, (m - j + 1) · p_(j))``.
    Rejecting where the adjusted value is at most 0.05 keeps the chance of any false rejection at most 0.05,
    whatever the dependence between the tests; it never rejects less than Bonferroni's correction [1]_.

    Parameters
    ----------
    p_values : array, shape (m,)
        Between 0 and 1.

    Returns
    -------
    np.ndarray, shape (m,)
        Adjusted p-values, in the order given.

    References
    ----------
    .. [1] Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.ndim != 1:
        raise ValueError(f"p_values must have one dimension, got shape {raw.shape}")
    wrong = np.flatnonzero(~((raw >= 0) & (raw <= 1)))
    if len(wrong):
        raise ValueError(f"p_values[{wrong[0]}] is {raw[wrong[0]]}, not between 0 and 1")
    order = np.argsort(raw, kind="stable")
    stepped = np.minimum(raw[order] * np.arange(len(raw), 0, -1), 1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def resample_weights(
    rows: int | np.ndarray, n_resamples: int, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """Return how often each row is drawn in each resample; rows of one group are always drawn together.

    Parameters
    ----------
    rows : int or array, shape (n_rows,)
        The number of independent rows, or the group that each row belongs to, as in `bootstrap_interval`.

    Returns
    -------
    np.ndarray of float64, shape (n_resamples, n_rows)
        ``weights @ values / weights.sum(axis=1)`` are the means of the resamples.
    """
    check_resampling(n_resamples, 0.95)
    codes = None if np.ndim(rows) == 0 else np.unique(rows, return_inverse=True)[1]
    n = rows if codes is None else int(codes.max()) + 1
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    flat = drawn + n * np.arange(n_resamples)[:, None]  # one bincount for all resamples
    counts = np.bincount(flat.ravel(), minlength=n_resamples * n).reshape(n_resamples, n)
    return (counts if codes is None else counts[:, codes]).astype(np.float64)


def blocks(total: int, width: int) -> Iterator[int]:
    """Split `total` rows of `width` draws into block sizes that respect BLOCK_DRAWS."""
    size = max(1, BLOCK_DRAWS // max(1, width))
    for start in range(0, total, size):
        yield min(size, total - start)


def check_resampling(n_resamples: int, confidence: float) -> None:
    """Raise ValueError for parameters that no interval can be made from."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")


def check_groups(groups: Any, n_rows: int) -> np.ndarray:
    """Return the groups as an array; raise ValueError unless there is one per row."""
    if np.shape(groups) != (n_rows,):
        raise ValueError(f"{n_rows} rows but groups of shape {np.shape(groups)}: one per row")
    missing = np.flatnonzero(pd.isna(groups))
    if len(missing):
        raise ValueError(f"groups[{missing[0]}] is missing: every row belongs to a group")
    return np.asarray(groups)


def percentile_interval(value: float, resampled: np.ndarray, confidence: float, n: int) -> Interval:
    """Return the interval between the outer quantiles of resampled statistics."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), n)


def _drawn_means(sample: np.ndarray, n_resamples: int, rng: np.random.Generator) -> list[np.ndarray]:
    distinct, counts = np.unique(sample, return_counts=True)
    n = len(sample)
    if 8 * len(distinct) <= n:
        # How often each distinct value is drawn is multinomial: the same distribution, far fewer draws
        # for metrics that take few values, such as hit rate.
        return [
            rng.multinomial(n, counts / n, size=size) @ distinct / n
            for size in blocks(n_resamples, len(distinct))
        ]
    return [
        sample[rng.integers(n, size=(size, n), dtype=np.int32)].mean(axis=1)
        for size in blocks(n_resamples, n)
    ]


def _vector(values: Any, name: str) -> np.ndarray:
    """Return a one-dimensional float64 array on the host, without infinities."""
    host = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    vector = np.asarray(host, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {vector.shape}")
    infinite = np.flatnonzero(np.isinf(vector))
    if len(infinite):
        raise ValueError(f"{name}[{infinite[0]}] is {vector[infinite[0]]}")
    return vector


def _not_empty(sample: np.ndarray, name: str) -> np.ndarray:
    if len(sample) == 0:
        raise ValueError(
            f"{name} holds no number: all of it is NaN or left out, as where no user has anything to find"
        )
    return sample


def _paired_differences(a: Any, b: Any) -> np.ndarray:
    """Return ``a - b`` where both are numbers; refuse pairs of which one half is missing."""
    first, second = _vector(a, "a"), _vector(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a has {len(first)} values but b has {len(second)}: one per user in both")
    unpaired = np.flatnonzero(np.isnan(first) != np.isnan(second))
    if len(unpaired):
        raise ValueError(f"only one of a[{unpaired[0]}] and b[{unpaired[0]}] is NaN: not the same users")
    differences = first - second
    return _not_empty(differences[~np.isnan(differences)], "a - b")
