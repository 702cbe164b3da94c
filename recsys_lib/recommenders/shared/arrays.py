"""Small things that models share: checked positions, similar items, tables of reasons, host or device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, issparse

from recsys_lib.scoring import TopK, top_k

if TYPE_CHECKING:
    from recsys_lib.recommenders.shared.base import Recommender

Array = np.ndarray | torch.Tensor


def check_positions(name: str, positions: object, total: int, *, unknown: bool = False) -> np.ndarray:
    """Positions as an int64 array.

    Parameters
    ----------
    name : str
        What the message calls them.
    positions : integer array, shape (n,)
    total : int
        Positions go from 0 to total − 1.
    unknown : bool
        Whether −1 is allowed too.

    Raises
    ------
    ValueError
        If they are no integers, or one of them is out of range: says which.
    """
    checked = np.asarray(positions)
    if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a one-dimensional array of integers, "
            f"got {checked.dtype} of shape {checked.shape}"
        )
    checked = checked.astype(np.int64)
    bad = (checked < -int(unknown)) | (checked >= total)
    if bad.any():
        where = int(np.argmax(bad))
        also = ", and −1 is an unknown one" if unknown else ""
        raise ValueError(f"{name}[{where}] is {checked[where]}; positions go from 0 to {total - 1}{also}")
    return checked


def check_histories(model: Recommender, histories: object) -> csr_array:
    """Histories of users the model need not know, one column per item, as float32.

    Raises
    ------
    ValueError
        If the model is not fitted, or they are not sparse or of another width.
    """
    model._check_fitted()
    if not issparse(histories) or histories.shape[1] != len(model.items_):
        raise ValueError(
            f"histories must be sparse with one column for each of {len(model.items_)} items, "
            f"got {type(histories).__name__} of shape {np.shape(histories)}"
        )
    return csr_array(histories, dtype=np.float32)


def check_pair(model: Recommender, user: int, item: int) -> tuple[np.ndarray, int]:
    """A user with a history, as an array of one position, and an item: what a score is explained for.

    Raises
    ------
    ValueError
        If the model is not fitted, a position is out of range, or the user has no history.
    """
    model._check_fitted()
    users = check_positions("user", [user], len(model.users_))
    if model.matrix_.indptr[user] == model.matrix_.indptr[user + 1]:
        raise ValueError(f"user {user} has no history to explain a score by")
    return users, int(check_positions("item", [item], len(model.items_))[0])


def without_itself(positions: np.ndarray, total: int) -> csr_array:
    """What to exclude where the neighbours of some positions are ranked: each of them itself."""
    n = len(positions)
    return csr_array((np.ones(n, np.float32), positions, np.arange(n + 1)), shape=(n, total))


def contributions(name: str, reasons: object, values: np.ndarray, n: int | None) -> pd.DataFrame:
    """Table of reasons (column `name`) and `contribution`, the n largest first."""
    order = np.argsort(-values, kind="stable")[:n]
    return pd.DataFrame({name: np.asarray(reasons)[order], "contribution": values[order]})


def similar_factors(factors: torch.Tensor, items: np.ndarray, k: int) -> TopK:
    """The k rows of `factors` with the highest cosine to those at some positions, themselves left out."""
    items = check_positions("items", items, len(factors))
    unit = torch.nn.functional.normalize(factors, dim=1)
    queries = unit[torch.from_numpy(items).to(unit.device)]
    return top_k(native(queries), native(unit), k, exclude=without_itself(items, len(unit)))


def native(tensor: torch.Tensor) -> Array:
    """The same memory as a NumPy array on the host, where NumPy's products are the faster ones."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def on_host(values: Array) -> np.ndarray:
    """The same numbers as a NumPy array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
