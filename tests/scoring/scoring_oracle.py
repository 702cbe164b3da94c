"""Brute force: all scores in float64, one sort by (-score, id)."""

import numpy as np


def brute_force(queries, items, k, exclude=None):
    """Ids and scores of the k best, shape (n_queries, k) each, padded with -1 and -inf."""
    scores = np.asarray(queries, np.float64) @ np.asarray(items, np.float64).T
    return rank(scores, k, exclude)


def rank(scores, k, exclude=None):
    """The same, for given scores."""
    scores = np.array(scores, np.float64)
    if exclude is not None:
        scores[exclude.tocoo().coords] = -np.inf
    ids = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    best = np.take_along_axis(scores, order, 1)
    padding = ((0, 0), (0, max(0, k - scores.shape[1])))
    ids = np.pad(np.where(best == -np.inf, -1, order), padding, constant_values=-1)
    return ids, np.pad(best, padding, constant_values=-np.inf)


def assert_ranked(result, expected):
    """Ids and scores equal, to the last bit."""
    ids, scores = expected
    np.testing.assert_array_equal(np.asarray(result.ids), ids)
    np.testing.assert_array_equal(np.asarray(result.scores), scores)
