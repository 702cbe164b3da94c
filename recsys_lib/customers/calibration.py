"""Make predicted probabilities mean what they say: Platt's and isotonic recalibration."""

from collections.abc import Callable

import numpy as np
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

# A forest may say exactly 0 or 1, whose log-odds are infinite.
_SURE = 1e-6


def fit_calibration(
    p: np.ndarray, y: np.ndarray, method: str = "platt"
) -> Callable[[np.ndarray], np.ndarray]:
    """Learn a map from predicted to observed probability, on rows the model was not trained on.

    - "platt": ``σ(a · logit p + b)``, two numbers; needs few rows, keeps their order where a > 0 [1]_
    - "isotonic": the best step function that never falls; needs more rows, ties some of them [2]_
    - "none": the identity

    Parameters
    ----------
    p, y : np.ndarray, shape (n,)
        Predicted probabilities of held-out rows, and what happened: 0 or 1.
    method : {"platt", "isotonic", "none"}

    Returns
    -------
    function
        From probabilities to calibrated probabilities, the same shape.

    References
    ----------
    .. [1] Platt (1999), "Probabilistic outputs for support vector machines", Advances in Large
       Margin Classifiers.
    .. [2] Zadrozny & Elkan (2002), "Transforming classifier scores into accurate multiclass probability
       estimates", KDD.

    Examples
    --------
    >>> p, y = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1])
    >>> fit_calibration(p, y, "isotonic")(p).tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(f"p and y must be vectors of one length, got shapes {p.shape} and {y.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p must hold probabilities between 0 and 1, and no NaN")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y must hold outcomes of 0 or 1, got {y[~np.isin(y, (0, 1))][0]:g}")
    if len(np.unique(y)) < 2:
        raise ValueError(f"all {len(y)} outcomes are the same: there is nothing to calibrate on")
    if method == "none":
        return lambda p: np.asarray(p, dtype=np.float64)
    if method == "isotonic":
        return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y).predict
    if method == "platt":
        # C=inf: no penalty, it would pull the slope towards 0.
        line = LogisticRegression(C=np.inf).fit(_log_odds(p)[:, None], y)
        return lambda p: line.predict_proba(_log_odds(p)[:, None])[:, 1]
    raise ValueError(f"no method {method!r}; there are 'platt', 'isotonic' and 'none'")


def _log_odds(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(np.asarray(p, dtype=np.float64), _SURE, 1 - _SURE))
