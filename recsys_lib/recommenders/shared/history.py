"""What users did, as weights that can be added to later: shared by the models that score from a history."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.weighting import SECONDS_PER_DAY, seconds, weigh


def build_history(
    train: Interactions, weighting: str, half_life: float | None
) -> tuple[csr_array, float | None]:
    """Return the history of a train set, and the time of its newest event in seconds, None if not known.

    The history, float32 of shape (n_users, n_items), is what `weigh` gives, but the logarithm of "log" is not
    taken yet: a sum can be added to, its logarithm cannot. `history_weights` takes it.
    """
    history = weigh(train, "count" if weighting == "log" else weighting, half_life)
    return history, None if train.events is None else float(seconds(train.events["time"]).max())


def history_weights(history: csr_array, weighting: str) -> csr_array:
    """Return weights as `weigh` gives them, from (some rows of) a history, which stays as it is."""
    if weighting != "log":
        return history
    return csr_array((np.log1p(history.data), history.indices, history.indptr), shape=history.shape)


def value_weights(values: csr_array, weighting: str, half_life: float | None) -> csr_array:
    """Weigh the values of users who are not in train; with a half-life they have faded already."""
    if weighting == "binary" and half_life is None:
        return csr_array((np.ones_like(values.data), values.indices, values.indptr), shape=values.shape)
    return history_weights(values, weighting)


def extend_history(
    history: csr_array,
    newest: float | None,
    new: Interactions,
    merged: Interactions,
    weighting: str,
    half_life: float | None,
) -> tuple[csr_array, float | None]:
    """Add new interactions to a history, in which the old ones age; the same as building it from both.

    `merged` holds old and new ones together: it says which rows and columns the history gets.
    """
    added, last = build_history(new, weighting, half_life)
    faded = widen(history, *merged.matrix.shape)
    if half_life is not None:
        if last < newest:
            raise ValueError("the new interactions end before the ones already known: fit on all instead")
        fade = np.float32(0.5 ** ((last - newest) / SECONDS_PER_DAY / half_life))
        faded = csr_array((faded.data * fade, faded.indices, faded.indptr), shape=faded.shape)
    pairs = added.tocoo()
    rows = merged.users.get_indexer(new.users)[pairs.row]
    columns = merged.items.get_indexer(new.items)[pairs.col]
    aligned = coo_array((pairs.data, (rows, columns)), shape=faded.shape).tocsr()
    both = (faded.maximum(aligned) if weighting == "binary" else faded + aligned).tocsr()
    both.sort_indices()
    return both, last


def widen(matrix: csr_array, n_rows: int, n_columns: int) -> csr_array:
    """Append empty rows and columns to a matrix; values are shared, not copied."""
    indptr = np.concatenate([matrix.indptr, np.full(n_rows - matrix.shape[0], matrix.indptr[-1])])
    return csr_array((matrix.data, matrix.indices, indptr), shape=(n_rows, n_columns))


def merge(old: csr_array, users: pd.Index, items: pd.Index, new: Interactions) -> Interactions:
    """Add new interactions to old ones; users and items not seen before are appended in their order.

    Old positions stay valid. Values of pairs that are in both are added up; `events` are dropped.
    """
    for name, old_ids, new_ids in (("users", users, new.users), ("items", items, new.items)):
        kinds = [ids.inferred_type for ids in (old_ids, new_ids)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"ids of {name} are {kinds[0]} so far, but {kinds[1]} in the new interactions")
    users = users.append(new.users.difference(users, sort=False))
    items = items.append(new.items.difference(items, sort=False))
    before, after = old.tocoo(), new.matrix.tocoo()
    rows = np.concatenate([before.row, users.get_indexer(new.users)[after.row]])
    columns = np.concatenate([before.col, items.get_indexer(new.items)[after.col]])
    values = np.concatenate([before.data, after.data])
    matrix = coo_array((values, (rows, columns)), shape=(len(users), len(items))).tocsr()
    matrix.sort_indices()
    return Interactions(matrix, users, items)
