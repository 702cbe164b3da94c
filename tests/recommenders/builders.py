"""Interactions that tests of several models are made of."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, random_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders import weigh

DAY = 86_400
START = 10_000 * DAY  # in 1997: what is earlier than 1973 is no time in seconds


def as_interactions(values, users=None, items=None):
    """Interactions without times from a matrix, dense or sparse; ids are positions where none are given."""
    matrix = csr_array(values, dtype=np.float32)
    users, items = (
        pd.RangeIndex(total) if ids is None else pd.Index(ids)
        for ids, total in zip((users, items), matrix.shape, strict=True)
    )
    return Interactions(matrix, users, items)


def timed_interactions(rows, n_users, n_items):
    """Interactions from (user, item, time), times in seconds after START."""
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    frame["time"] += START
    ids = {"users": pd.RangeIndex(n_users), "items": pd.RangeIndex(n_items)}
    return Interactions.from_frame(frame, "user", "item", time="time", **ids)


def random_counts(n_users, n_items, density, seed=0):
    """Counts of 1 to 5; every user has something."""
    rng = np.random.default_rng(seed)
    shape = n_users, n_items
    dense = random_array(shape, density=density, rng=rng, format="csr", dtype=np.float32).toarray()
    dense[np.arange(n_users), rng.integers(n_items, size=n_users)] = 1
    return as_interactions(np.ceil(5 * dense))


def two_tastes(size=12):
    """Users and items of the same parity belong together; the diagonal is withheld."""
    dense = (np.add.outer(np.arange(size), np.arange(size)) % 2 == 0).astype(np.float32)
    np.fill_diagonal(dense, 0)
    return as_interactions(dense)


def random_events(n_users=18, n_items=25, seed=0):
    """Several events of most pairs within 100 days, in random order; user 5 has none."""
    generator = np.random.default_rng(seed)
    n = 2 * n_users * n_items // 3
    frame = pd.DataFrame(
        {
            "user": generator.integers(0, n_users, n),
            "item": (generator.random(n) ** 2 * n_items).astype(int),
            "value": generator.integers(1, 4, n),
            "time": START + generator.integers(0, 100 * DAY, n),
        }
    )
    frame = frame[frame["user"] != 5]
    users, items = pd.Index(np.arange(n_users)), pd.Index(np.arange(n_items))
    return Interactions.from_frame(frame, "user", "item", "value", "time", users=users, items=items)


def faded_values(train, weighting, half_life):
    """What `fold_in` of a model with a half-life wants: its logarithm, if any, is the model's business."""
    return weigh(train, "binary" if weighting == "binary" else "count", half_life)
