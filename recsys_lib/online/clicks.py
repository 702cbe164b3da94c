"""Clicks that depend on the place in a list, and estimates from logged clicks."""

import numpy as np


def click_value(attraction: np.ndarray, examination: np.ndarray) -> np.ndarray:
    """Compute the expected clicks on lists under the position-based click model, shape (n_lists,).

    A user looks at place r with probability ``examination[r]``, whatever stands there, and clicks what was
    looked at with the item's own probability: ``value = Σ_r examination[r] · attraction[r]`` [1]_.

    Parameters
    ----------
    attraction : np.ndarray, shape (n_lists, k)
        Probability of a click once the item is looked at.
    examination : np.ndarray, shape (k,) or (n_lists, k)

    References
    ----------
    .. [1] Craswell et al. (2008), "An experimental comparison of click position-bias models", WSDM.
    """
    _check_probabilities(attraction=attraction, examination=examination)
    return (attraction * examination).sum(axis=1)


def simulate_clicks(attraction: np.ndarray, examination: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw clicks, bool of shape (n_lists, k), from the position-based click model; see `click_value`."""
    _check_probabilities(attraction=attraction, examination=examination)
    return rng.random(attraction.shape) < attraction * examination


def inverse_propensity_value(clicks: np.ndarray, shown: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Estimate the clicks that another order of the same items would get, from the clicks that one order got.

    Every click is divided by the probability that its place was looked at, and multiplied by that of the
    place where the other order would put the item: ``Σ_i click_i · wanted_i / shown_i``. Its expectation is
    the true value, as long as every item that the other order shows had a chance to be looked at [1]_.

    Parameters
    ----------
    clicks : bool or float array, shape (n_lists, k)
        What was clicked.
    shown, wanted : np.ndarray, shape (n_lists, k) or (k,)
        Probability that the item is looked at, in the order that was shown and in the other one.

    References
    ----------
    .. [1] Joachims, Swaminathan & Schnabel (2017), "Unbiased learning-to-rank with biased feedback", WSDM.
    """
    _check_probabilities(shown=shown, wanted=wanted)
    shown, wanted = np.broadcast_arrays(shown, wanted)
    if ((shown == 0) & (wanted > 0)).any():
        raise ValueError("an item that is wanted was never looked at: its clicks cannot be estimated")
    weights = np.divide(wanted, shown, out=np.zeros(shown.shape), where=shown > 0)
    return (clicks * weights).sum(axis=1)


def _check_probabilities(**arrays: np.ndarray) -> None:
    for name, values in arrays.items():
        if not ((np.asarray(values) >= 0) & (np.asarray(values) <= 1)).all():
            raise ValueError(f"{name} must hold probabilities between 0 and 1")
