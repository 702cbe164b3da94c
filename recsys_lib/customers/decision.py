"""From probabilities to a decision worth money: whom to send the coupon."""

import numpy as np
import pandas as pd


def profits(y: np.ndarray, chosen: np.ndarray, value: float, cost: float) -> np.ndarray:
    """Return each row's profit in dollars: ``chosen · (value · y − cost)``.

    Parameters
    ----------
    y : array of 0 and 1, shape (n,)
        Whether the household converts.
    chosen : array of bool, shape (n,)
        Whether it is contacted.
    value, cost : float
        Dollars earned by a conversion and spent on a contact, at least 0.

    Returns
    -------
    np.ndarray, shape (n,)
        A household that is not contacted earns and costs nothing. This books every conversion of a contacted
        household to the contact, which no data without a control group can confirm.

    Examples
    --------
    >>> profits(np.array([1, 0, 1]), np.array([True, True, False]), value=5, cost=1).tolist()
    [4.0, -1.0, 0.0]
    """
    for name, amount in (("value", value), ("cost", cost)):
        if not (np.isfinite(amount) and amount >= 0):
            raise ValueError(f"{name} must be a number of dollars, 0 or more, got {amount}")
    y, chosen = np.asarray(y, dtype=np.float64), np.asarray(chosen, dtype=bool)
    if y.shape != chosen.shape:
        raise ValueError(f"y has shape {y.shape} but chosen {chosen.shape}: one entry per household in both")
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("y must say whether each household converts: 0 or 1, and nothing is missing")
    return np.where(chosen, value * y - cost, 0.0)


def profit_curve(y: np.ndarray, p: np.ndarray, value: float, cost: float) -> pd.DataFrame:
    """Compute the profit of contacting everyone above a threshold, for every threshold that matters.

    Parameters
    ----------
    y, value, cost
        As in `profits`.
    p : array, shape (n,)
        Predicted probability of conversion, or another number that ranks the rows.

    Returns
    -------
    pandas.DataFrame
        From nobody to everybody: `threshold` (contact where ``p >= threshold``: half-way between two
        neighbouring predictions, infinite for nobody, at most 0 for everybody), `contacted` (rows),
        `profit` (dollars in all).

    Examples
    --------
    >>> profit_curve([1, 0, 1], [0.9, 0.5, 0.5], value=5, cost=1)
       threshold  contacted  profit
    0        inf          0     0.0
    1        0.7          1     4.0
    2        0.0          3     7.0
    """
    y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if y.ndim != 1 or y.shape != p.shape or not len(p) or not np.isfinite(p).all():
        shapes = f"got shapes {y.shape} and {p.shape}"
        raise ValueError(f"y and p must be vectors of one length above 0, p finite; {shapes}")
    order = np.argsort(-p, kind="stable")
    gained = np.cumsum(profits(y[order], np.ones(len(y), bool), value, cost))
    ends = np.flatnonzero(np.append(np.diff(p[order]) < 0, True))  # the last row of each group of equal p
    above, below = p[order][ends[:-1]], p[order][ends[1:]]
    between = np.maximum((above + below) / 2, np.nextafter(below, np.inf))  # the mean may be `below`
    return pd.DataFrame(
        {
            "threshold": np.concatenate([[np.inf], between, [min(0.0, p.min())]]),
            "contacted": np.append(0, ends + 1),
            "profit": np.append(0.0, gained[ends]),
        }
    )


def best_threshold(y: np.ndarray, p: np.ndarray, value: float, cost: float) -> float:
    """Return the threshold with the largest profit on these rows; of equals, the one with fewest contacts.

    With calibrated probabilities it should lie near the break-even point ``cost / value``. The curve is flat
    at its top, so from few rows the two can differ with little loss.

    Parameters
    ----------
    y, p, value, cost
        As in `profit_curve`. Use rows that neither trained the model nor will judge the decision.
    """
    curve = profit_curve(y, p, value, cost)
    return float(curve["threshold"].iloc[int(np.argmax(curve["profit"].to_numpy()))])
