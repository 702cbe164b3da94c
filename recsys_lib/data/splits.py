"""Three ways to hold data out, and how to turn two tables into matrices over the same ids."""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_lib.data.interactions import Interactions, Split, check_columns, check_rows
from recsys_lib.data.times import as_datetimes

Seed = int | np.random.Generator


class Parts(NamedTuple):
    """Two tables that together are the one that was split; both keep the order and the index of its rows."""

    train: pd.DataFrame
    test: pd.DataFrame


def split_by_time(frame: pd.DataFrame, time: str, cut: str | pd.Timestamp) -> Parts:
    """Split at one moment for everybody: train before `cut`, test from `cut` on.

    The only split that never trains on what lies in the future of a test row.

    Parameters
    ----------
    frame : pandas.DataFrame
        Left as it is.
    time : str
        Name of the time column, of any kind that `Interactions.from_frame` reads.
    cut : str or pandas.Timestamp
        The first moment of test: 2017-12-01 or 2017-12-01T18:30:00, UTC where it names no zone.
    """
    check_columns(frame, [time])
    column = pd.Series([cut], name="cut")
    moment = as_datetimes(column, partial(check_rows, column))[0]
    times = as_datetimes(frame[time], partial(check_rows, frame[time]))
    parts = _parts(frame, (times >= moment).to_numpy())
    for name, part in zip(Parts._fields, parts, strict=True):
        if part.empty:
            raise ValueError(
                f"{name} is empty: column {time!r} runs from {times.min()} to {times.max()}, "
                f"the cut is {moment}"
            )
    return parts


def split_random(frame: pd.DataFrame, test_share: float = 0.2, seed: Seed = 0) -> Parts:
    """Hold out rows drawn without looking at user or time.

    Parameters
    ----------
    frame : pandas.DataFrame
        Left as it is.
    test_share : float
        Share of the rows, between 0 and 1; the number of test rows is rounded.
    """
    _check_share("test_share", test_share)
    is_test = np.zeros(len(frame), bool)
    is_test[np.random.default_rng(seed).permutation(len(frame))[: round(test_share * len(frame))]] = True
    return _parts(frame, is_test)


def split_stratified(
    frame: pd.DataFrame, by: str, train_share: float = 0.75, seed: Seed | np.random.RandomState = 0
) -> Parts:
    """Split every group alike: of each value of `by`, the share `train_share` goes to train.

    One uniform number is drawn per row, in the order of the table; in each group the rows with the smallest
    numbers, `round(train_share × count)` of them (a half goes to the even number), are train.

    Parameters
    ----------
    frame : pandas.DataFrame
        Left as it is.
    by : str
        Name of the column whose groups are split: the item, or the user.
    train_share : float
        Between 0 and 1.
    seed : int, numpy.random.Generator or numpy.random.RandomState
        A RandomState serves to repeat published splits that were drawn with the legacy generator.
    """
    _check_share("train_share", train_share)
    # default_rng would refuse a RandomState; both kinds of generator have .random.
    generator = seed if isinstance(seed, np.random.RandomState) else np.random.default_rng(seed)
    draws = generator.random(len(frame))
    check_columns(frame, [by])
    codes, _ = pd.factorize(frame[by])
    check_rows(frame[by], codes < 0, "expected a group in every row")
    order = np.lexsort((draws, codes))
    counts = np.bincount(codes)
    rank = np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_test = np.empty(len(frame), bool)
    is_test[order] = rank >= np.repeat(np.round(train_share * counts), counts)
    return _parts(frame, is_test)


def to_matrices(
    parts: Parts,
    user: str,
    item: str,
    value: str | None = None,
    time: str | None = None,
    *,
    min_users_per_item: int = 1,
) -> Split:
    """Turn two tables into matrices over train's users and items.

    Parameters
    ----------
    user, item, value, time : str
        As in `Interactions.from_frame`.
    min_users_per_item : int
        Items with fewer different users in train are dropped from both parts.

    Returns
    -------
    Split
        Test rows whose user or item train does not know are left out: no model of past behaviour can be
        asked about them. Returns take back what stands in the same part; one in test whose purchase is in
        train is left out, as everything in test that is no interaction.
    """
    known = {}
    if min_users_per_item > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same rows are counted below
            # Without values there are no returns, which need their times.
            every = Interactions.from_frame(parts.train, user, item, value, time if value else None)
        # Pairs and not rows: an item bought twice by one household still has one user.
        frequent = np.bincount(every.matrix.indices, minlength=every.n_items) >= min_users_per_item
        if not frequent.any():
            words = f"no item of train has {min_users_per_item} users or more"
            raise ValueError(f"{words}: lower min_users_per_item")
        active = np.diff(every.matrix[:, frequent].indptr) > 0
        known = {"users": every.users[active], "items": every.items[frequent]}
    train = Interactions.from_frame(parts.train, user, item, value, time, **known)
    test = Interactions.from_frame(parts.test, user, item, value, time, users=train.users, items=train.items)
    return Split(train, test)


def _parts(frame: pd.DataFrame, is_test: np.ndarray) -> Parts:
    return Parts(frame[~is_test], frame[is_test])


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {share}")
