"""Holding out a part of train, where models choose their own weights: never out of test."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from recsys_lib.data import Interactions
from recsys_lib.data.interactions import Split
from recsys_lib.data.splits import split_stratified
from recsys_lib.recommenders.shared.weighting import in_last_days


def hold_out_last(train: Interactions, days: float) -> Split:
    """Hold out the last days of train, so that nothing is learnt from the future of what is predicted.

    The period ends with the newest event. Users and items are those of `train`, which needs `events`; of
    some, or of all, nothing may be left in `Split.train`.
    """
    late = in_last_days(train, days)
    return Split(select(train, ~late), select(train, late))


def hold_out_random(train: Interactions, share: float, seed: int) -> Split:
    """Hold out a share of every item's (user, item) pairs, for data whose test is drawn in that way, too.

    Over the users and items of `train`; all events of a pair are on the same side.
    """
    pairs = train.matrix.tocoo()
    frame = pd.DataFrame({"user": pairs.row, "item": pairs.col, "value": pairs.data})
    parts = split_stratified(frame, "item", 1 - share, seed)
    if train.events is None:
        return Split(*(_gather(train, part, None) for part in parts))
    keys = train.events["user"].to_numpy(np.int64) * train.n_items + train.events["item"].to_numpy()
    held_out = np.isin(keys, parts.test["user"].to_numpy(np.int64) * train.n_items + parts.test["item"])
    return Split(select(train, ~held_out), select(train, held_out))


def select(train: Interactions, chosen: np.ndarray) -> Interactions:
    """Keep some of the events, by a mask; users and items stay."""
    events = train.events[chosen].reset_index(drop=True)
    return _gather(train, events, events)


def _gather(train: Interactions, pairs: pd.DataFrame, events: pd.DataFrame | None) -> Interactions:
    values = pairs["value"].to_numpy(np.float32)
    places = (pairs["user"].to_numpy(np.int32), pairs["item"].to_numpy(np.int32))
    matrix = coo_array((values, places), shape=train.matrix.shape).tocsr()
    matrix.sort_indices()
    return Interactions(matrix, train.users, train.items, events)
