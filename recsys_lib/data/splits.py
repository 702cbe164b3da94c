"""Three ways to hold data out, and how to turn two tables into matrices over the same ids."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_lib.data.interactions import Interactions, Split, check_rows

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
        Name of the time column.
    cut : str or pandas.Timestamp
        The first moment of test.
    """
    cut = pd.Timestamp(cut)
    check_rows(frame[time], frame[time].isna(), "a time split needs a time in every row")
    parts = _parts(frame, (frame[time] >= cut).to_numpy())
    for name, part in zip(Parts._fields, parts, strict=True):
        if part.empty:
            raise ValueError(
                f"{name} is empty: column {time!r} runs from {frame[time].min()} to {frame[time].max()}, "
                f"the cut is {cut}"
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
    seed : int or numpy.random.Generator
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
    codes, _ = pd.factorize(frame[by])
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
    parts : Parts
    user, item, value, time : str
        As in `Interactions.from_frame`.
    min_users_per_item : int
        Items with fewer different users in train are dropped from both parts.

    Returns
    -------
    Split
        Test rows whose user or item train does not know are left out: no model of past behaviour can be
        asked about them.
    """
    if min_users_per_item > 1:
        # One row per (user, item) pair: an item bought twice by one household still has one user.
        pairs = parts.train.drop_duplicates([user, item])
        users_of = pairs[item].value_counts()
        items = pd.Index(users_of.index[users_of >= min_users_per_item]).sort_values()
        parts = parts._replace(train=parts.train[items.get_indexer(parts.train[item]) >= 0])
    train = Interactions.from_frame(parts.train, user, item, value, time)
    test = Interactions.from_frame(parts.test, user, item, value, time, users=train.users, items=train.items)
    return Split(train, test)


def _parts(frame: pd.DataFrame, is_test: np.ndarray) -> Parts:
    return Parts(frame[~is_test], frame[is_test])


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {share}")
