"""Predicting explicit ratings from neighbours: what users with a similar taste gave an item."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array

from recsys_lib.recommenders.shared.products import rows_of, sparse_product

# Ratings' worth of doubt that a user or an item differs from the mean.
USER_DAMPING, ITEM_DAMPING = 15.0, 10.0
_SWEEPS = 10


class Expected(NamedTuple):
    """What to expect of a user and an item before looking at neighbours: ``b_ui = user[u] + item[i]``."""

    user: np.ndarray  # shape (n_users,)
    item: np.ndarray  # shape (n_items,)
    unknown: float  # stands for a user the model does not know

    def __call__(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """b_ui of pairs, shape (n,); −1 is an unknown user or item."""
        return np.where(users >= 0, self.user[users], self.unknown) + np.where(
            items >= 0, self.item[items], 0
        )

    def deviations(self, ratings: csr_array) -> csr_array:
        """Ratings minus what is expected; what is rated stays stored, also where nothing is left."""
        left = ratings.data - self(rows_of(ratings), ratings.indices)
        left[np.abs(left) < 1e-6] = 0  # rounding of a mean, which would look like a taste
        return csr_array((left.astype(np.float32), ratings.indices, ratings.indptr), shape=ratings.shape)


def check_centered(centered: bool | str) -> None:
    """Raise a ValueError unless it is one of the three ways to centre ratings."""
    if centered not in (False, True, "baseline"):
        raise ValueError(f"centered must be False, True or 'baseline', got {centered!r}")


def expected_ratings(ratings: csr_array, centered: bool | str) -> Expected:
    """Find what to expect of every user and item.

    Parameters
    ----------
    ratings : csr_array, shape (n_users, n_items)
        Stored entries are ratings.
    centered : bool or "baseline"
        False expects 0, True the mean of the user, "baseline" ``mean + b_u + b_i`` with damped deviations,
        found by turns.

    Returns
    -------
    Expected

    References
    ----------
    Koren (2010), "Factor in the neighbors: scalable and accurate collaborative filtering", section 2.1.
    """
    n_users, n_items = ratings.shape
    user, item = np.zeros(n_users), np.zeros(n_items)
    if centered is False:
        return Expected(user, item, 0.0)
    mean = float(ratings.data.mean(dtype=np.float64))
    if centered is True:
        left = ratings.data.astype(np.float64) - mean
        user = np.bincount(rows_of(ratings), left, n_users) / np.maximum(np.diff(ratings.indptr), 1)
        return Expected(mean + user, item, mean)
    user, item = damped_biases(ratings.tocoo(), mean, USER_DAMPING, ITEM_DAMPING, _SWEEPS)
    return Expected(mean + user, item, mean)


def damped_biases(
    ratings: coo_array, mean: float, user_damping: float, item_damping: float, sweeps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Biases of users and items that minimise ``Σ (r − mean − b_u − b_i)² + damping · Σ b²``, by turns."""
    users, items, left = ratings.row, ratings.col, ratings.data.astype(np.float64) - mean
    n_users, n_items = ratings.shape
    of_user, of_item = np.bincount(users, minlength=n_users), np.bincount(items, minlength=n_items)
    user = np.zeros(n_users)
    for _ in range(sweeps):
        item = np.bincount(items, left - user[users], n_items) / (of_item + item_damping)
        user = np.bincount(users, left - item[items], n_users) / (of_user + user_damping)
    return user, item


def taste_similarity(deviations: csr_array, users: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return the cosine of deviations over the items both users rated, shrunk where these are few.

    ``s_uv = Σ d_ui d_vi / √(Σ d_ui² Σ d_vi²) · n_uv / (n_uv + shrinkage)``, every sum over the n_uv items
    rated by both. Centred by users' means this is close to Pearson's correlation.

    Parameters
    ----------
    deviations : csr_array, shape (n_users, n_items)
        Ratings minus what is expected; stored entries are rated, also where they are 0.
    users : integer array, shape (n,)
    shrinkage : float
        At least 0, in items.

    Returns
    -------
    np.ndarray of float32, shape (n, n_users)
        0 between a user and itself.
    """
    rated = csr_array(
        (np.ones_like(deviations.data), deviations.indices, deviations.indptr), shape=deviations.shape
    )
    squares = csr_array((deviations.data**2, deviations.indices, deviations.indptr), shape=deviations.shape)
    common = sparse_product(rated[users], rated.T.tocsr())
    norms = sparse_product(squares[users], rated.T.tocsr()) * sparse_product(rated[users], squares.T.tocsr())
    similar = sparse_product(deviations[users], deviations.T.tocsr())
    similar /= np.sqrt(np.where(norms > 0, norms, 1))
    similar *= common / np.maximum(common + np.float32(shrinkage), 1)
    similar[np.arange(len(users)), users] = 0  # no user is a neighbour of itself
    return similar


def neighbors_deviation(
    similar: np.ndarray, deviations: csr_array, rows: np.ndarray, items: np.ndarray, neighbors: int | None
) -> np.ndarray:
    """Average the deviations that neighbours gave to items: ``Σ s_uv d_vi / Σ |s_uv|``.

    Parameters
    ----------
    similar : np.ndarray, shape (n, n_users)
        From `taste_similarity`.
    deviations : csr_array, shape (n_users, n_items)
    rows, items : integer arrays, shape (n_pairs,)
        Row of `similar`, and item, of every wanted pair.
    neighbors : int, optional
        Only the most similar ones *among those who rated the item* count; None: all of them.

    Returns
    -------
    np.ndarray of float64, shape (n_pairs,)
        0 where no similar user rated the item.
    """
    by_item = deviations.tocsc()
    result = np.zeros(len(rows))
    if not len(rows):
        return result
    order = np.argsort(items, kind="stable")
    wanted, starts = np.unique(items[order], return_index=True)
    for item, places in zip(wanted, np.split(order, starts[1:]), strict=True):
        _, weights, values = nearest_raters(similar[rows[places]], by_item, item, neighbors)
        result[places] = (weights * values).sum(axis=1)
    return result


def nearest_raters(
    similar: np.ndarray, by_item: csc_array, item: int, neighbors: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the raters of an item with their weights (similarities that sum to 1 in size) and deviations.

    Parameters
    ----------
    similar : np.ndarray, shape (n, n_users)
    by_item : csc_array, shape (n_users, n_items)
        Deviations.
    item : int
    neighbors : int, optional

    Returns
    -------
    tuple of np.ndarray, each of shape (n, n_neighbours)
    """
    stored = slice(by_item.indptr[item], by_item.indptr[item + 1])
    raters, values = by_item.indices[stored], by_item.data[stored].astype(np.float64)
    weights = similar[:, raters].astype(np.float64)
    shape = weights.shape
    raters, values = np.broadcast_to(raters, shape), np.broadcast_to(values, shape)
    if neighbors is not None and shape[1] > neighbors:
        near = np.argpartition(weights, -neighbors, axis=1)[:, -neighbors:]
        raters, weights, values = (
            np.take_along_axis(part, near, axis=1) for part in (raters, weights, values)
        )
    total = np.abs(weights).sum(axis=1, keepdims=True)
    return raters, weights / np.where(total > 0, total, 1), values
