"""How much an interaction counts: once, per purchase, by its logarithm, less the older it is."""

from typing import Annotated

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.checks import check_positive, one_of, timed_events

SECONDS_PER_DAY = 86_400
check_weighting = one_of("count", "log", "binary")
Weighting = Annotated[str, check_weighting]


def weigh(train: Interactions, weighting: str = "count", half_life: float | None = None) -> csr_array:
    """Turn interactions into weights of (user, item) pairs.

    Parameters
    ----------
    train : Interactions
        With `events` if a half-life is given.
    weighting : {"count", "log", "binary"}
        "count" adds values up, "log" takes log(1 + sum), "binary" is 1 per pair. With a half-life, "binary"
        is the decay of the latest event.
    half_life : float, optional
        In days: an event that much older than the newest one of all counts half. Without it, age is ignored.

    Returns
    -------
    csr_array of float32, shape (n_users, n_items)
        With the same stored pairs as `train.matrix`; a new matrix.
    """
    check_weighting(weighting=weighting)
    if half_life is not None:
        check_positive(half_life=half_life)
    weights = train.matrix.copy() if half_life is None else _decayed(train, weighting, half_life)
    return value_weights(weights, weighting, half_life)


def value_weights(values: csr_array, weighting: str, half_life: float | None = None) -> csr_array:
    """Weigh sums of values, which stay as they are; with a half-life they have faded already."""
    if weighting == "count" or (weighting == "binary" and half_life is not None):
        return values
    weights = np.ones_like(values.data)
    if weighting == "log":  # in double precision: logarithms of single precision differ between processors
        weights = np.log1p(values.data, dtype=np.float64).astype(values.data.dtype)
    return csr_array((weights, values.indices, values.indptr), shape=values.shape)


def in_last_days(train: Interactions, days: float) -> np.ndarray:
    """Say which events lie in the last days before the newest event of all, shape (n_events,)."""
    moments = seconds(timed_events(train, "the last days need")["time"])
    return moments > moments.max() - days * SECONDS_PER_DAY


def recent_users(train: Interactions, days: float) -> np.ndarray:
    """Count the users who had each item in the last days before the newest event of all, shape (n_items,)."""
    late = train.events[in_last_days(train, days)]
    return np.bincount(late.drop_duplicates(["user", "item"])["item"], minlength=train.n_items)


def seconds(times: pd.Series | np.ndarray) -> np.ndarray:
    """Return times as float64 seconds: datetimes since 1970, numbers as they are."""
    times = np.asarray(times)
    if times.dtype.kind == "M":
        return (times - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    return times.astype(float)


def decay(times: pd.Series | np.ndarray, half_life: float) -> np.ndarray:
    """Weigh events by age: ½ to the power of age ÷ half-life in days; the newest event has age 0."""
    if not half_life > 0:
        raise ValueError(f"half_life must be a number of days above 0, got {half_life!r}")
    moments = seconds(times)
    return 0.5 ** ((moments.max() - moments) / SECONDS_PER_DAY / half_life)


def _decayed(train: Interactions, weighting: str, half_life: float) -> csr_array:
    events = timed_events(train, "half_life needs")
    weights = decay(events["time"], half_life)
    users, items = events["user"].to_numpy(), events["item"].to_numpy()
    if weighting == "binary":  # events are in order of time: the last one of a pair is the one that counts
        last = ~events.duplicated(["user", "item"], keep="last").to_numpy()
        users, items, weights = users[last], items[last], weights[last]
    else:
        weights = weights * events["value"].to_numpy()
    matrix = coo_array((weights, (users, items)), shape=train.matrix.shape).tocsr()
    matrix.sort_indices()
    return matrix.astype(np.float32)
