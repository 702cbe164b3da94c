"""How good predicted probabilities are: order, distance, calibration, and their confidence intervals."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from recsys_lib.metrics.significance import (
    Interval,
    blocks,
    check_groups,
    check_resampling,
    percentile_interval,
    resample_weights,
)


def classification_metrics(y: Any, p: Any, *, n_bins: int = 10) -> dict[str, float]:
    """Judge predicted probabilities of a yes-or-no outcome.

    - ``roc_auc``: the chance that a random positive row is scored above a random negative one, ties half
    - ``average_precision = Σ_t (recall_t - recall_{t-1}) · precision_t`` over falling thresholds t
    - ``brier = mean of (p - y)²`` [1]_
    - ``log_loss = -mean of y·ln p + (1 - y)·ln(1 - p)``; scikit-learn keeps p at least 2.2e-16 from 0 and 1,
      so a certain and wrong prediction costs 36, not infinity
    - ``expected_calibration_error = Σ_b n_b / n · |mean y - mean p|`` over the bins of
      `calibration_curve` [2]_; it is biased upwards when bins are small

    Parameters
    ----------
    y : array or torch tensor, shape (n,)
        Outcomes, 0 or 1 (or bool).
    p : array or torch tensor, shape (n,)
        Predicted probability of 1.
    n_bins : int
        Bins of the calibration error.

    Returns
    -------
    dict of str to float
        With one class only, roc_auc and average_precision have no meaning and are NaN; the rest is defined.

    References
    ----------
    .. [1] Brier (1950), "Verification of forecasts expressed in terms of probability", Monthly Weather
       Review 78(1).
    .. [2] Naeini, Cooper & Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
       binning", AAAI.

    Examples
    --------
    >>> values = classification_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], n_bins=2)
    >>> {name: round(value, 4) for name, value in values.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'roc_auc': 0.75, 'average_precision': 0.8333, 'brier': 0.1581, 'log_loss': 0.4723,
     'expected_calibration_error': 0.1875}
    """
    labels, probabilities = _checked(y, p)
    both_classes = 0 < labels.sum() < len(labels)
    curve = calibration_curve(labels, probabilities, n_bins=n_bins)
    gaps = (curve["observed"] - curve["predicted"]).abs()
    return {
        "roc_auc": float(sklearn_metrics.roc_auc_score(labels, probabilities)) if both_classes else np.nan,
        "average_precision": (
            float(sklearn_metrics.average_precision_score(labels, probabilities)) if both_classes else np.nan
        ),
        "brier": float(np.mean((probabilities - labels) ** 2)),
        "log_loss": float(sklearn_metrics.log_loss(labels, probabilities, labels=[0, 1])),
        "expected_calibration_error": float((gaps * curve["count"]).sum() / len(labels)),
    }


def calibration_curve(y: Any, p: Any, *, n_bins: int = 10) -> pd.DataFrame:
    """Compare predicted with observed rates in bins of (nearly) equally many rows.

    The bins are cut at the quantiles of `p`; equal predictions stay in one bin, so with many ties there
    are fewer bins, of unequal size. On a calibrated model ``observed`` is near ``predicted`` in every bin.

    Parameters
    ----------
    y, p
        As in `classification_metrics`.

    Returns
    -------
    pandas.DataFrame
        One row per non-empty bin, in ascending order: ``count`` (rows), ``predicted`` (their mean p),
        ``observed`` (their share of ones).

    Examples
    --------
    >>> calibration_curve([0, 1, 1, 1], [0.2, 0.4, 0.7, 0.9], n_bins=2).round(2)
       count  predicted  observed
    0      2        0.3       0.5
    1      2        0.8       1.0
    """
    labels, probabilities = _checked(y, p)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    edges = np.quantile(probabilities, np.linspace(0, 1, n_bins + 1))
    in_bin = np.searchsorted(edges[1:-1], probabilities)
    counts = np.bincount(in_bin, minlength=n_bins)
    filled = counts > 0
    sums = {
        "predicted": np.bincount(in_bin, weights=probabilities, minlength=n_bins),
        "observed": np.bincount(in_bin, weights=labels, minlength=n_bins),
    }
    means = {name: values[filled] / counts[filled] for name, values in sums.items()}
    return pd.DataFrame({"count": counts[filled], **means})


def lift(y: Any, p: Any, *, fraction: float = 0.1) -> float:
    """Compare the rate of ones among the best-scored rows with the rate among all rows.

    ``lift = rate of ones among the ⌈fraction · n⌉ rows with the highest p / rate among all rows``: 1 for a
    random order, at most ``1 / fraction``, NaN if there is no one at all. If rows with equal p compete for
    the last places, they share them: the result is the mean over all ways of breaking the tie.

    References
    ----------
    Ling & Li (1998), "Data mining for direct marketing: problems and solutions", KDD.

    Examples
    --------
    >>> lift([1, 0, 0, 0], [0.9, 0.5, 0.3, 0.1], fraction=0.25)
    4.0
    """
    labels, probabilities = _checked(y, p)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
    if not labels.any():
        return np.nan
    # A hair less before rounding up: 0.07 · 100 is 7.000000000000001, and yet 7 rows are meant.
    taken = max(1, int(np.ceil(fraction * len(labels) - 1e-9)))
    cutoff = np.partition(probabilities, len(labels) - taken)[len(labels) - taken]
    above, tied = probabilities > cutoff, probabilities == cutoff
    ones = labels[above].sum() + (taken - above.sum()) * labels[tied].mean()
    return float(ones / taken / labels.mean())


def bootstrap_classification(
    y: Any,
    p: Any,
    *,
    baseline: Any = None,
    groups: np.ndarray | None = None,
    fraction: float | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> dict[str, Interval]:
    """Estimate classification metrics with confidence intervals by the percentile bootstrap over rows.

    Rows are sorted by prediction once; a resample is then only a weight (times drawn) per row, and every
    metric of a block of resamples comes from cumulative sums of weights.

    Parameters
    ----------
    y, p
        As in `classification_metrics`.
    baseline : array or torch tensor, shape (n,), optional
        Predictions of another model for the same rows. The result is then the interval of the difference,
        `p` minus `baseline`, on the same resamples.
    groups : array, shape (n,), optional
        As in `bootstrap_interval`; needed where a user has several rows.
    fraction : float, optional
        Add `lift` for this share of the rows. A resample takes exactly the share, not whole rows.
    n_resamples, confidence, seed
        As in `bootstrap_interval`.

    Returns
    -------
    dict of str to Interval
        roc_auc, average_precision, brier, log_loss, and with `fraction` lift; `n` counts the rows. Resamples
        in which a metric has no meaning are left out; it is NaN if it has none for `y`. (A resampled
        calibration error would say little: it is larger on a resample than on the data.)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(500)
    >>> y = rng.random(500) < p
    >>> interval = bootstrap_classification(y, p, n_resamples=200)["roc_auc"]
    >>> interval.low < interval.value < interval.high, interval.n
    (True, 500)
    """
    check_resampling(n_resamples, confidence)
    models = [_checked(y, p)] + ([] if baseline is None else [_checked(y, baseline)])
    n = len(models[0][0])
    rows = n if groups is None else check_groups(groups, n)
    top = [{} if fraction is None else {"lift": lift(*model, fraction=fraction)} for model in models]
    observed = _difference(
        [classification_metrics(*model) | more for model, more in zip(models, top, strict=True)]
    )
    rng = np.random.default_rng(seed)
    drawn = []
    for size in blocks(n_resamples, 4 * n):  # four arrays of a block's size are alive at once
        weights = resample_weights(rows, size, rng)
        drawn.append(_difference([weighted_metrics(*model, weights, fraction) for model in models]))
    intervals = {}
    for name in drawn[0]:
        values = np.concatenate([block[name] for block in drawn])
        kept = np.array([np.nan]) if np.isnan(observed[name]) else values[~np.isnan(values)]
        intervals[name] = percentile_interval(observed[name], kept, confidence, n)
    return intervals


def _checked(y: Any, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 vectors on the host; raise ValueError naming the first wrong entry."""
    labels, probabilities = (
        np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values, dtype=np.float64)
        for values in (y, p)
    )
    if labels.ndim != 1 or labels.shape != probabilities.shape or len(labels) == 0:
        shapes = f"{labels.shape} and {probabilities.shape}"
        raise ValueError(f"y and p must be non-empty vectors of one length, got shapes {shapes}")
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise ValueError(f"y[{wrong[0]}] is {labels[wrong[0]]}, neither 0 nor 1")
    wrong = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)))
    if len(wrong):
        raise ValueError(f"p[{wrong[0]}] is {probabilities[wrong[0]]}, not a probability between 0 and 1")
    return labels, probabilities


def weighted_metrics(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, fraction: float | None = None
) -> dict[str, np.ndarray]:
    """Return the metrics for every row of weights; NaN where one class has no weight."""
    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)  # last of equal p
    sorted_weights = weights[:, order]
    taken = np.cumsum(sorted_weights, axis=1)[:, ends]
    positives = np.cumsum(sorted_weights * labels[order], axis=1)[:, ends]
    negatives = taken - positives
    n_positive, n_negative = positives[:, -1].copy(), negatives[:, -1].copy()
    n_positive[(n_positive == 0) | (n_negative == 0)] = np.nan
    found = np.diff(positives, axis=1, prepend=0)
    missed = np.diff(negatives, axis=1, prepend=0)

    smallest = np.finfo(np.float64).eps  # where scikit-learn clips
    clipped = np.clip(probabilities, smallest, 1 - smallest)
    losses = -np.log(np.where(labels == 1, clipped, 1 - clipped))
    total = weights.sum(axis=1)
    metrics = {
        # Trapezoids under the curve: positives scored above each negative, ties half.
        "roc_auc": (missed * (positives - found / 2)).sum(axis=1) / (n_positive * np.maximum(n_negative, 1)),
        "average_precision": (found * positives / np.maximum(taken, 1)).sum(axis=1) / n_positive,
        "brier": weights @ (probabilities - labels) ** 2 / total,
        "log_loss": weights @ losses / total,
    }
    if fraction is not None:
        metrics["lift"] = _weighted_lift(taken, positives, fraction)
    return metrics


def _weighted_lift(taken: np.ndarray, positives: np.ndarray, fraction: float) -> np.ndarray:
    """Lift from cumulative weights: rows with equal p share the last places, so between ends it is linear."""
    found = [
        np.interp(fraction * rows[-1], np.append(0, rows), np.append(0, ones))
        for rows, ones in zip(taken, positives, strict=True)
    ]
    n_positive = positives[:, -1]
    return np.array(found) / (fraction * np.where(n_positive > 0, n_positive, np.nan))


def _difference(models: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model's own values, or their distance from the baseline's."""
    if len(models) == 1:
        return models[0]
    return {name: value - models[1][name] for name, value in models[0].items()}
