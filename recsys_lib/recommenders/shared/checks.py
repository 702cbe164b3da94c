"""Checks at the doors of all models; each raises a ValueError that says what is wrong and where.

A field of a model says in its annotation what it may be: `factors: Count`, `half_life: Positive | None`.
"""

from collections.abc import Callable
from dataclasses import fields
from numbers import Real
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
import pandas as pd
import psutil
import torch
from scipy.sparse import csr_array, issparse

from recsys_lib.data import Interactions
from recsys_lib.data.values import LARGEST, SMALLEST, summed_pairs
from recsys_lib.scoring.checks import check_count, is_whole, rule


def check_interactions(train: Interactions, name: str = "train") -> None:
    """Refuse what nothing can be learnt from, and values that no model can calculate with."""
    if not isinstance(train, Interactions):
        raise ValueError(f"{name} must be Interactions (see recsys_lib.data), got {type(train).__name__}")
    if train.matrix.nnz == 0:
        raise ValueError(f"no interaction to learn from: the matrix of shape {train.matrix.shape} is empty")
    bad = ~((train.matrix.data > 0) & (train.matrix.data <= LARGEST))
    if bad.any():
        place = int(np.argmax(bad))
        user = int(np.searchsorted(train.matrix.indptr, place, side="right")) - 1
        item = int(train.matrix.indices[place])
        raise ValueError(
            f"values must be above 0 and at most {LARGEST:g}; user {train.users.tolist()[user]!r} and "
            f"item {train.items.tolist()[item]!r} have {train.matrix[user, item]:g}"
        )


def timed_events(train: Interactions, who_needs: str) -> pd.DataFrame:
    """Return the events of interactions; where there are none, say who needs their times."""
    if train.events is None:
        raise ValueError(f"{who_needs} the times of events: build Interactions with time=…")
    return train.events


def check_memory(wanted: int, what: str, instead: str) -> None:
    """Refuse what would not fit, before any of it is taken: a MemoryError with its bytes and a way out."""
    free, process = psutil.virtual_memory().available, psutil.Process()
    limit = process.rlimit(psutil.RLIMIT_AS)[0] if hasattr(process, "rlimit") else -1  # Linux has it
    if limit >= 0:
        free = min(free, max(0, limit - process.memory_info().vms))
    if wanted > free:
        raise MemoryError(f"{what} takes {wanted:,} bytes, and {free:,} are free: {instead}")


def one_of(*choices: str) -> Callable[..., None]:
    """Make a check that refuses the first hyper-parameter that is none of some words."""
    return rule(choices.__contains__, f"be one of {choices}")


check_positive = rule(lambda value: _is_number(value) and value > 0, "be a number above 0")
check_not_negative = rule(lambda value: _is_number(value) and value >= 0, "be a finite number of at least 0")
check_share = rule(lambda value: _is_number(value) and 0 <= value <= 1, "lie between 0 and 1")
check_seed = rule(lambda value: is_whole(value, 0), "be a whole number of at least 0")
check_flag = rule(lambda value: isinstance(value, bool), "be True or False")
Count, Seed = Annotated[int, check_count], Annotated[int, check_seed]
Positive, NotNegative = Annotated[float, check_positive], Annotated[float, check_not_negative]
Share, Flag = Annotated[float, check_share], Annotated[bool, check_flag]


def check_settings(model: Any) -> None:
    """Check every field of a dataclass by the functions in its annotation; None passes where it may stand."""
    kinds = get_type_hints(type(model), include_extras=True)
    for field in fields(model):
        kind, value = kinds[field.name], getattr(model, field.name)
        if value is None and NoneType in get_args(kind):
            continue
        for part in (kind, *get_args(kind)):
            for check in getattr(part, "__metadata__", ()):
                check(**{field.name: value})


def check_positions(name: str, positions: object, total: int, *, unknown: bool = False) -> np.ndarray:
    """Return positions, shape (n,), as int64: from 0 to total − 1, and −1 where `unknown`."""
    checked = np.asarray(_on_host(positions))
    if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a one-dimensional array of integers, "
            f"got {checked.dtype} of shape {checked.shape}"
        )
    bad = (checked < -int(unknown)) | (checked >= total)
    if bad.any():
        where = int(np.argmax(bad))
        also = ", and −1 is an unknown one" if unknown else ""
        raise ValueError(f"{name}[{where}] is {checked[where]}; positions go from 0 to {total - 1}{also}")
    return checked.astype(np.int64)


def check_pairs(users: object, items: object, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of users and items that belong together, as int64; −1 is an unknown one."""
    users = check_positions("users", users, n_users, unknown=True)
    items = check_positions("items", items, n_items, unknown=True)
    if len(users) != len(items):
        raise ValueError(f"users and items must be pairs, got {len(users)} users and {len(items)} items")
    return users, items


def check_k(k: int, n_items: int) -> None:
    """Refuse lengths of lists that are no whole number between 1 and the number of items."""
    if not (isinstance(k, int | np.integer) and 1 <= k <= n_items):
        raise ValueError(f"k must be between 1 and the number of items, {n_items}; got {k}")


def check_histories(histories: object, n_items: int) -> csr_array:
    """Return histories, one column per item, as float32."""

    def refuse(row: int, column: int, value: float) -> None:
        raise ValueError(
            f"histories must be finite, not negative, and 0 or {SMALLEST:g} to {LARGEST:g}; "
            f"row {row} and item {column} have {value:g}"
        )

    if not issparse(histories) or histories.ndim != 2 or histories.shape[1] != n_items:
        raise ValueError(
            f"histories must be sparse with one column for each of {n_items} items, "
            f"got {type(histories).__name__} of shape {np.shape(histories)}"
        )
    return summed_pairs(histories, refuse)


def check_item_features(features: object, n_items: int) -> csr_array | np.ndarray:
    """Return features of items, shape (n_items, n_features), as float32, sparse or dense as they came."""
    found = csr_array(features) if issparse(features) else np.asarray(_on_host(features))
    if found.ndim != 2 or found.shape[0] != n_items:
        raise ValueError(
            f"item_features must have one row for each of {n_items} items, got shape {found.shape}"
        )
    if found.dtype.kind in "biuf":
        with np.errstate(over="ignore"):
            found = found.astype(np.float32)
    values = found.data if issparse(found) else found
    if values.dtype != np.float32 or not np.isfinite(values).all():
        raise ValueError("item_features must be finite numbers, also in 32 bits")
    return found


def _is_number(value: object) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def _on_host(values: object) -> object:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
