"""Whom a contact changes: curves and areas of uplift, from a campaign whose treatment was randomised."""

import numpy as np

from recsys_lib.metrics.significance import Interval, percentile_interval, resample_weights


def qini_curve(
    y: np.ndarray, treated: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return what is gained by contacting the k rows of highest score, for every k: Radcliffe's curve.

    ``(Y_T(k) − Y_C(k) · n_T(k) / n_C(k)) / n_T(n)``, with the outcomes Y and the numbers n of treated (T) and
    untreated (C) rows among the first k. It ends at the average effect of the treatment.

    Parameters
    ----------
    y : np.ndarray, shape (n,)
        The outcome: 0 and 1, or dollars. To count costs, take them off the outcomes of the treated rows.
    treated : np.ndarray of bool, shape (n,)
        Drawn at random, not chosen: otherwise the curve compares different people.
    score : np.ndarray, shape (n,)
        Who comes first. Equal scores are taken in the order of rows.
    weights : np.ndarray, shape (n_resamples, n), optional
        How often each row counts: a bootstrap in one call.

    Returns
    -------
    np.ndarray, shape (n + 1,) or (n_resamples, n + 1)
        From 0 (nobody) on, in units of `y` per row. It is 0 for as long as one of the two groups is empty.

    References
    ----------
    Radcliffe (2007), "Using Control Groups to Target on Predicted Lift", Direct Marketing Analytics Journal.

    Examples
    --------
    >>> qini_curve([1, 0, 0, 0], [True, False, True, False], [4, 3, 2, 1]).tolist()
    [0.0, 0.0, 0.5, 0.5, 0.5]
    """
    y, treated = np.asarray(y, dtype=np.float64), np.asarray(treated, dtype=bool)
    score = np.asarray(score, dtype=np.float64)
    if y.ndim != 1 or not y.shape == treated.shape == score.shape:
        raise ValueError(f"one entry per row in each: got shapes {y.shape}, {treated.shape}, {score.shape}")
    if not (np.isfinite(y).all() and np.isfinite(score).all()):
        raise ValueError("y and score must be finite")
    if treated.all() or not treated.any():
        raise ValueError(
            "there must be treated and untreated rows: without a control group no effect is seen"
        )
    order = np.argsort(-score, kind="stable")
    of_row = np.ones((1, len(y))) if weights is None else np.asarray(weights)
    of_treated = of_row[:, order] * treated[order]
    of_control = of_row[:, order] * ~treated[order]
    sums = [
        np.cumsum(part, axis=1)
        for part in (of_treated, of_treated * y[order], of_control, of_control * y[order])
    ]
    n_treated, y_treated, n_control, y_control = sums
    gained = y_treated - y_control * n_treated / np.maximum(n_control, 1)
    gained = np.where((n_treated > 0) & (n_control > 0), gained, 0) / n_treated[:, -1:]
    curves = np.pad(gained, ((0, 0), (1, 0)))
    return curves[0] if weights is None else curves


def uplift_areas(
    y: np.ndarray, treated: np.ndarray, score: np.ndarray, *, baseline: np.ndarray | None = None,
    groups: np.ndarray | None = None, n_resamples: int = 500, seed: int = 0,
) -> dict[str, Interval]:  # fmt: skip
    """Measure an order of rows by the area under its `qini_curve`, with bootstrap intervals.

    Parameters
    ----------
    y, treated, score
        As in `qini_curve`.
    baseline : np.ndarray, shape (n,), optional
        Another score. Then the areas are differences, on the same resamples.
    groups : np.ndarray, shape (n,), optional
        Rows of one household, drawn together.
    n_resamples, seed
        Of the percentile bootstrap, whose intervals hold 95 %.

    Returns
    -------
    dict of Interval
        "auuc", the area under the curve, the share contacted running from 0 to 1; "qini", the area between
        the curve and the straight line to its end, which is what a random order gives.
    """
    rows = np.arange(len(y)) if groups is None else np.asarray(groups)
    weights = np.vstack([np.ones(len(rows)), resample_weights(rows, n_resamples, seed)])  # first: the data
    areas = _areas(qini_curve(y, treated, score, weights))
    if baseline is not None:
        areas -= _areas(qini_curve(y, treated, baseline, weights))
    n = len(np.unique(rows))
    return {
        name: percentile_interval(float(area[0]), area[1:], 0.95, n)
        for name, area in zip(("auuc", "qini"), areas, strict=True)
    }


def _areas(curves: np.ndarray) -> np.ndarray:
    under = np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1)
    return np.stack([under, under - curves[:, -1] / 2])
