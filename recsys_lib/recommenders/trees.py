"""Boosted decision trees, fitted and applied by scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

# Of a column's histogram. scikit-learn searches weighted quantiles one by one, each time through all rows;
# with 64 in place of 255 the lists of notebook 03 are as good on validation.
_BINS = 64


def fit_trees(
    columns: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    n_trees: int,
    learning_rate: float,
    leaves: int,
    min_rows: int,
    seed: int,
) -> HistGradientBoostingClassifier:
    """Fit the probability of a label by gradient boosting on the logistic loss.

    Parameters
    ----------
    columns : float32 array, shape (n_rows, n_columns)
        NaN marks what is not known.
    labels : bool array, shape (n_rows,)
    weights : float array, shape (n_rows,)
    n_trees, learning_rate, leaves, min_rows
        Trees, factor on each, most leaves of a tree, fewest rows of a leaf.
    seed : int

    Returns
    -------
    HistGradientBoostingClassifier
        Its `decision_function` gives log-odds.

    References
    ----------
    Friedman (2001), "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 29(5).
    Ke et al. (2017), "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS (histograms).
    """
    unknown = np.isnan(columns).all(axis=0)  # scikit-learn cannot bin a column without a number
    if unknown.any():
        columns = np.where(unknown, np.float32(0), columns)
    return HistGradientBoostingClassifier(
        max_iter=n_trees,
        max_bins=_BINS,
        learning_rate=learning_rate,
        max_leaf_nodes=leaves,
        min_samples_leaf=min_rows,
        early_stopping=False,
        random_state=seed,
    ).fit(columns, labels, sample_weight=weights)
