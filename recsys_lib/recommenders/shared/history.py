"""What users did, as weights that can be added to later: shared by the models that score from a history."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.base import Recommender, check_interactions, merge
from recsys_lib.recommenders.shared.weighting import SCHEMES, SECONDS_PER_DAY, seconds, weigh


def check_weighting(scheme: str, half_life: float | None) -> None:
    """Raise a ValueError if there is no such scheme or the half-life is not a number above 0."""
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {SCHEMES}, got {scheme!r}")
    if half_life is not None and not 0 < half_life < np.inf:
        raise ValueError(f"half_life must be None or a number of days above 0, got {half_life!r}")


def remember(train: Interactions, scheme: str, half_life: float | None) -> tuple[csr_array, np.ndarray]:
    """History of a train set, and the time of its newest event.

    Parameters
    ----------
    train, scheme, half_life
        As in `weigh`.

    Returns
    -------
    history : csr_array of float32, shape (n_users, n_items)
        The logarithm of "log" is not taken yet: a sum can be added to, its logarithm cannot. `read` takes it.
    newest : np.ndarray of float64, shape ()
        In seconds, NaN where times are not known.
    """
    history = weigh(train, "count" if scheme == "log" else scheme, half_life)
    return history, np.array(np.nan if train.events is None else seconds(train.events["time"]).max())


def read(history: csr_array, scheme: str) -> csr_array:
    """Weights as `weigh` gives them, from (some rows of) a history; the history stays as it is."""
    if scheme != "log":
        return history
    return csr_array((np.log1p(history.data), history.indices, history.indptr), shape=history.shape)


def take_in(model: Recommender, new: Interactions) -> Interactions:
    """Add new interactions to what a model remembers, `matrix_` and `history_`: how `partial_fit` begins.

    Returns
    -------
    Interactions
        Old and new ones together; users and items not seen before come last.

    Raises
    ------
    ValueError
        As `extend`, `check_interactions`, and before `fit`.
    """
    check_interactions(new)
    model._check_fitted()
    together = merge(model.matrix_, model.users_, model.items_, new)
    model.history_, model.newest_ = extend(
        model.history_, model.newest_, new, together, model.scheme, model.half_life
    )
    model._remember(together)
    return together


def extend(
    history: csr_array,
    newest: np.ndarray,
    new: Interactions,
    together: Interactions,
    scheme: str,
    half_life: float | None,
) -> tuple[csr_array, np.ndarray]:
    """Add new interactions to a history, in which the old ones age; the same as remembering both at once.

    Parameters
    ----------
    history, newest
        From `remember`.
    new : Interactions
    together : Interactions
        Old and new ones, from `base.merge`: it says which rows and columns the history gets.
    scheme, half_life
        As in `weigh`.

    Returns
    -------
    tuple
        As `remember`.

    Raises
    ------
    ValueError
        If there is a half-life and `new` has no times, or ends before what is already known.
    """
    added, last = remember(new, scheme, half_life)
    faded = widen(history, *together.matrix.shape)
    if half_life is not None:
        if last < newest:
            raise ValueError("the new interactions end before the ones already known: fit on all instead")
        fade = np.float32(0.5 ** ((last - newest) / SECONDS_PER_DAY / half_life))
        faded = csr_array((faded.data * fade, faded.indices, faded.indptr), shape=faded.shape)
    pairs = added.tocoo()
    rows = together.users.get_indexer(new.users)[pairs.row]
    columns = together.items.get_indexer(new.items)[pairs.col]
    placed = coo_array((pairs.data, (rows, columns)), shape=faded.shape).tocsr()
    both = faded.maximum(placed) if scheme == "binary" else faded + placed
    both = both.tocsr()
    both.sort_indices()
    return both, last


def widen(matrix: csr_array, n_rows: int, n_columns: int) -> csr_array:
    """The matrix with empty rows and columns appended; values are shared, not copied."""
    indptr = np.concatenate([matrix.indptr, np.full(n_rows - matrix.shape[0], matrix.indptr[-1])])
    return csr_array((matrix.data, matrix.indices, indptr), shape=(n_rows, n_columns))
