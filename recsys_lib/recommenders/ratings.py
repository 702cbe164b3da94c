"""Predicting explicit ratings from neighbours: what users with a similar taste gave an item."""

import numpy as np
from scipy.sparse import csc_array, csr_array

from recsys_lib.recommenders.shared.products import rows_of, sparse_product


def user_means(ratings: csr_array) -> np.ndarray:
    """Return the mean rating of each user, and the mean of all where none is known, shape (n_users + 1,).

    The last place, to which −1 points, is for users who are not in the matrix.
    """
    mean = float(ratings.data.mean(dtype=np.float64))
    left = ratings.data.astype(np.float64) - mean
    sums = np.bincount(rows_of(ratings), left, ratings.shape[0])
    return mean + np.append(sums / np.maximum(np.diff(ratings.indptr), 1), 0)


def deviations_from(ratings: csr_array, expected: np.ndarray) -> csr_array:
    """Subtract from each rating what is expected of its user; also what comes to 0 stays stored."""
    left = ratings.data - expected[rows_of(ratings)]
    left[np.abs(left) < 1e-6] = 0  # rounding of a mean, which would look like a taste
    return csr_array((left.astype(np.float32), ratings.indices, ratings.indptr), shape=ratings.shape)


def taste_similarity(deviations: csr_array, users: np.ndarray) -> np.ndarray:
    """Return the cosine of deviations over the items both users rated, float32, shape (n, n_users).

    ``s_uv = Σ d_ui d_vi / √(Σ d_ui² Σ d_vi²)``, every sum over the items rated by both; 0 between a user and
    itself. Centred by users' means this is close to Pearson's correlation.
    """
    rated = csr_array(
        (np.ones_like(deviations.data), deviations.indices, deviations.indptr), shape=deviations.shape
    )
    squares = csr_array((deviations.data**2, deviations.indices, deviations.indptr), shape=deviations.shape)
    norms = sparse_product(squares[users], rated.T.tocsr()) * sparse_product(rated[users], squares.T.tocsr())
    similar = sparse_product(deviations[users], deviations.T.tocsr())
    similar /= np.sqrt(np.where(norms > 0, norms, 1))
    similar[np.arange(len(users)), users] = 0  # no user is a neighbour of itself
    return similar


def neighbors_deviation(
    similar: np.ndarray, deviations: csr_array, rows: np.ndarray, items: np.ndarray, neighbors: int | None
) -> np.ndarray:
    """Average the deviations that neighbours gave to items: ``Σ s_uv d_vi / Σ |s_uv|``, shape (n_pairs,).

    A pair is a row of `similar`, from `taste_similarity`, and an item. Only the most similar users *among
    those who rated the item* count, all of them without `neighbors`; 0 where no similar user rated it.
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

    Each of shape (n, n_neighbours), for `similar` of shape (n, n_users); `by_item` holds the deviations.
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
