"""Histories of users as weights: of users in train, and of those who were not there."""

import numpy as np
from scipy.sparse import csr_array


def history_weights(history: csr_array, weighting: str) -> csr_array:
    """Return weights as `weigh` gives them, from (some rows of) sums of values, which stay as they are."""
    if weighting != "log":
        return history
    return csr_array((np.log1p(history.data), history.indices, history.indptr), shape=history.shape)


def value_weights(values: csr_array, weighting: str, half_life: float | None) -> csr_array:
    """Weigh the values of users who are not in train; with a half-life they have faded already."""
    if weighting == "binary" and half_life is None:
        return csr_array((np.ones_like(values.data), values.indices, values.indptr), shape=values.shape)
    return history_weights(values, weighting)
