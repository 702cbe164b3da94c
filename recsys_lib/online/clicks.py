"""Clicks that depend on the place in a list."""

import numpy as np


def simulate_clicks(attraction: np.ndarray, examination: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw clicks, bool of shape (n_lists, k), from the position-based click model.

    A user looks at place r with probability ``examination[r]``, whatever stands there, and clicks what was
    looked at with the item's own probability, in `attraction`, shape (n_lists, k) [1]_.

    References
    ----------
    .. [1] Craswell et al. (2008), "An experimental comparison of click position-bias models", WSDM.
    """
    for name, values in {"attraction": attraction, "examination": examination}.items():
        if not ((np.asarray(values) >= 0) & (np.asarray(values) <= 1)).all():
            raise ValueError(f"{name} must hold probabilities between 0 and 1")
    return rng.random(attraction.shape) < attraction * examination
