"""Columns cut into bins of equal weight, for trees that look at the bins alone."""

from __future__ import annotations

import numpy as np

from recsys_lib.scoring import workers


def weighted_edges(column: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    """Find the upper ends of bins of about equal weight; fewer where there are fewer values.

    The edges of scikit-learn's own binning. It searches weighted quantiles one by one, each time through all
    rows; here one sorting serves all.

    Parameters
    ----------
    column, weights : array, shape (n,)
        Missing values are left out; weights are above 0.

    Returns
    -------
    np.ndarray of float64, shape (at most bins − 1,)
        Ascending; bin b holds what is above edge b − 1 and at most edge b.
    """
    known = ~np.isnan(column)
    order = np.argsort(column[known], kind="stable")
    values, mass = column[known][order].astype(np.float64), np.cumsum(weights[known][order])
    distinct = np.unique(values)
    if len(distinct) <= bins:
        return (distinct[1:] + distinct[:-1]) / 2
    targets = np.linspace(0, 100, bins + 1)[1:-1] / 100 * mass[-1]
    places = np.minimum(np.searchsorted(mass, targets), len(values) - 1)
    following = values[np.minimum(places + 1, len(values) - 1)]
    inside = mass[places] - targets > np.finfo(np.float64).eps  # else a target falls between two rows
    return np.unique(np.where(inside, values[places], (values[places] + following) / 2))


def edges_of(columns: np.ndarray, weights: np.ndarray, bins: int) -> list[np.ndarray]:
    """Find the edges of every column of a table, the columns shared out among the cores."""

    def find(place: int) -> np.ndarray:
        return weighted_edges(columns[:, place], weights, bins)

    return workers.run(find, range(columns.shape[1]))


def binned(columns: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Give the number of each value's bin, float32 of the same shape; missing values stay missing."""
    numbers = np.empty(columns.shape, np.float32)

    def number(place: int) -> None:
        column = columns[:, place]
        numbers[:, place] = np.where(np.isnan(column), np.nan, np.searchsorted(edges[place], column))

    workers.run(number, range(columns.shape[1]))
    return numbers
