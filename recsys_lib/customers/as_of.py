"""Sums over a household's past for many (household, date) pairs: one sort, then two look-ups per pair."""

from typing import NamedTuple

import numpy as np
import pandas as pd

# Seconds since the first day fit into 34 bits for five centuries; the household's place goes above them.
_TIME_BITS = 34


class History(NamedTuple):
    """Events sorted by household, then time; `order` sorts any column of theirs in the same way."""

    households: pd.Index
    first_day: pd.Timestamp
    keys: np.ndarray
    order: np.ndarray


def build_history(household_ids: np.ndarray, times: np.ndarray, first_day: pd.Timestamp) -> History:
    """Sort events once, so that every later question is a binary search.

    Events come in any order; those before `first_day`, day 0 of the clock, count as of that day.
    """
    households = pd.Index(np.unique(household_ids))
    keys = _keys(households.get_indexer(household_ids), np.asarray(times), first_day)
    order = np.argsort(keys, kind="stable")
    return History(households, first_day, keys[order], order)


def position(history: History, household_ids: np.ndarray, dates: np.ndarray) -> np.ndarray:
    """Return how many events of `history` lie before each (household, date), in its order, shape (n_pairs,).

    An event at the date itself does not count. A household without events gets one place for all dates, so
    differences between two of its positions are 0.
    """
    places = history.households.get_indexer(household_ids)
    places[places < 0] = len(history.households)  # beyond every key: the same position for all dates
    return np.searchsorted(history.keys, _keys(places, dates, history.first_day), side="left")


def range_sums(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the sum of ``values[begin:end]`` for each pair of positions: a difference of running totals.

    Whole numbers (counts, cents), because float sums would depend, in the last digits, on events elsewhere.
    """
    running = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return running[end] - running[begin]


def first_of_each(*columns: np.ndarray) -> np.ndarray:
    """Say of each row whether it is the first with its combination of values; rows keep their order."""
    return ~pd.DataFrame(dict(enumerate(columns))).duplicated().to_numpy()


def _keys(places: np.ndarray, dates: np.ndarray, first_day: pd.Timestamp) -> np.ndarray:
    elapsed = dates.astype("datetime64[s]") - np.datetime64(first_day, "s")
    # A fraction of a second is cut off; dates are whole days, so no event crosses one.
    seconds = np.clip(elapsed.astype(np.int64), 0, (1 << _TIME_BITS) - 1)
    return (places.astype(np.int64) << _TIME_BITS) | seconds
