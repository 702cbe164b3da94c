"""Intervals for rows that come in groups: the households are resampled, each with all its rows."""

import numpy as np

from recsys_lib.metrics import Interval, classification_metrics, lift
from recsys_lib.metrics.classification import weighted_metrics
from recsys_lib.metrics.significance import blocks, check_resampling, percentile_interval


def household_weights(
    household_ids: np.ndarray, n_resamples: int, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """Say how often each row is drawn when households are drawn with replacement (cluster bootstrap).

    Rows of one household resemble each other. Resampling rows as if they were independent would make
    intervals too narrow [1]_.

    Parameters
    ----------
    household_ids : np.ndarray, shape (n_rows,)
        Whose row it is.
    n_resamples : int
    seed : int or numpy.random.Generator

    Returns
    -------
    np.ndarray of float64, shape (n_resamples, n_rows)
        ``weights @ values / weights.sum(axis=1)`` are the means of the resamples.

    References
    ----------
    .. [1] Davison & Hinkley (1997), "Bootstrap Methods and their Application", section 3.8.
    """
    check_resampling(n_resamples, 0.95)
    ids, code = np.unique(household_ids, return_inverse=True)
    n = len(ids)
    drawn = (
        np.random.default_rng(seed).integers(n, size=(n_resamples, n)) + n * np.arange(n_resamples)[:, None]
    )
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n).reshape(n_resamples, n)
    return counts[:, code].astype(np.float64)


def household_mean(
    values: np.ndarray, household_ids: np.ndarray, *, n_resamples: int = 1000, seed: int = 0
) -> Interval:
    """Mean over rows with its 95 % interval, households resampled; `n` counts the rows."""
    values = np.asarray(values, dtype=np.float64)
    _check_one_per_row(household_ids, len(values))
    weights = household_weights(household_ids, n_resamples, seed)
    return percentile_interval(
        float(values.mean()), weights @ values / weights.sum(axis=1), 0.95, len(values)
    )


def household_intervals(
    y: np.ndarray, p: np.ndarray, household_ids: np.ndarray, *, baseline: np.ndarray | None = None,
    fraction: float = 0.1, n_resamples: int = 1000, seed: int = 0,
) -> dict[str, Interval]:  # fmt: skip
    """Classification metrics with 95 % intervals, households resampled with all their rows.

    Parameters
    ----------
    y, p : arrays, shape (n_rows,)
        Outcome and predicted probability.
    household_ids : np.ndarray, shape (n_rows,)
    baseline : array, shape (n_rows,), optional
        Another model's predictions: the result is then the difference, `p` minus `baseline`, on the same
        resamples.
    fraction : float
        Of the rows, for `lift`.
    n_resamples : int
    seed : int

    Returns
    -------
    dict of str to Interval
        roc_auc, average_precision, brier, log_loss, lift; `n` counts the rows. What has no meaning because
        all outcomes are the same is NaN.

    Raises
    ------
    ValueError
        As in `classification_metrics`, or if there is not one household id per row.
    """
    y = np.asarray(y, dtype=np.float64)
    _check_one_per_row(household_ids, len(y))
    models = [np.asarray(p, dtype=np.float64)] + ([] if baseline is None else [np.asarray(baseline, float)])
    observed = [classification_metrics(y, p) | {"lift": lift(y, p, fraction=fraction)} for p in models]
    rng, drawn = np.random.default_rng(seed), []
    for size in blocks(n_resamples, 4 * len(y)):
        weights = household_weights(household_ids, size, rng)
        drawn.append(
            [
                weighted_metrics(y, p, weights) | {"lift": _weighted_lift(y, p, weights, fraction)}
                for p in models
            ]
        )
    intervals = {}
    for name in drawn[0][0]:
        values = [np.concatenate([block[m][name] for block in drawn]) for m in range(len(models))]
        value = observed[0][name] - (observed[1][name] if baseline is not None else 0)
        resampled = values[0] - (values[1] if baseline is not None else 0)
        kept = resampled[~np.isnan(resampled)] if not np.isnan(value) else np.array([np.nan])
        intervals[name] = percentile_interval(float(value), kept, 0.95, len(y))
    return intervals


def _check_one_per_row(household_ids: np.ndarray, n_rows: int) -> None:
    if np.shape(household_ids) != (n_rows,):
        raise ValueError(f"{n_rows} rows but household_ids of shape {np.shape(household_ids)}: one per row")


def _weighted_lift(y: np.ndarray, p: np.ndarray, weights: np.ndarray, fraction: float) -> np.ndarray:
    """Lift of every row of weights, NaN without a one; rows with equal p share the last places."""
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(order) - 1)
    taken = np.cumsum(weights[:, order], axis=1)[:, ends]
    ones = np.cumsum(weights[:, order] * y[order], axis=1)[:, ends]
    total, positive = taken[:, -1], ones[:, -1]
    found = [
        np.interp(fraction * t, np.append(0, x), np.append(0, o))
        for t, x, o in zip(total, taken, ones, strict=True)
    ]
    return np.array(found) / (fraction * np.where(positive > 0, positive, np.nan))
