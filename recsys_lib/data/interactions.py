"""The sparse user × item matrix together with the ids its rows and columns stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array, issparse


@dataclass(frozen=True, eq=False)
class Interactions:
    """The interactions of users with items: a sparse matrix with its ids.

    Attributes
    ----------
    matrix : csr_array of float32, shape (n_users, n_items)
        The sum of the values of each (user, item) pair; column indices are sorted and unique. Whatever sparse
        matrix is given is brought into this form.
    users, items : pandas.Index
        Ids of rows and columns. Row `i` of `matrix` belongs to `users[i]`.
    events : pandas.DataFrame or None
        The single interactions behind the sums, oldest first, if their time is known: columns `user` and
        `item` (int32 positions in `users` and `items`), `value` (float32) and `time`.
    """

    matrix: csr_array
    users: pd.Index
    items: pd.Index
    events: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _canonical(self.matrix))
        expected = (len(self.users), len(self.items))
        if self.matrix.shape != expected:
            raise ValueError(f"matrix has shape {self.matrix.shape}, but users and items say {expected}")
        for name, ids in (("users", self.users), ("items", self.items)):
            if not ids.is_unique:
                raise ValueError(
                    f"{name} must be unique; {ids[ids.duplicated()][0]!r} appears more than once"
                )

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        user: str,
        item: str,
        value: str | None = None,
        time: str | None = None,
        *,
        users: pd.Index | None = None,
        items: pd.Index | None = None,
    ) -> "Interactions":
        """Build the matrix from a table with one interaction per row.

        Parameters
        ----------
        frame : pandas.DataFrame
            Left as it is.
        user, item : str
            Names of the id columns.
        value : str, optional
            Name of a numeric column that is summed per (user, item) pair. Without it, rows are counted.
        time : str, optional
            Name of a time column; with it the single interactions are kept in `events`.
        users, items : pandas.Index, optional
            Ids and their order, for a matrix that has to match another one. Rows of `frame` with other ids
            are left out. Without them: the ids found, sorted.
        """
        check_columns(frame, [name for name in (user, item, value, time) if name is not None])
        user_codes, users = _codes(frame[user], users)
        item_codes, items = _codes(frame[item], items)
        values = np.ones(len(frame), np.float32) if value is None else _finite(frame[value])
        known = (user_codes >= 0) & (item_codes >= 0)
        if not known.all():
            user_codes, item_codes, values = user_codes[known], item_codes[known], values[known]
        matrix = coo_array((values, (user_codes, item_codes)), shape=(len(users), len(items))).tocsr()
        matrix.sort_indices()
        events = None
        if time is not None:
            times = frame[time].to_numpy()[known]
            check_rows(frame[time], pd.isna(frame[time]).to_numpy() & known, "no time")
            events = _events(user_codes, item_codes, values, times)
        return cls(matrix, users, items, events)

    @property
    def n_users(self) -> int:
        """Number of rows."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of columns."""
        return len(self.items)

    @property
    def density(self) -> float:
        """Share of the (user, item) pairs that hold an interaction."""
        return self.matrix.nnz / max(1, self.n_users * self.n_items)

    def user_positions(self, ids: Sequence | pd.Index) -> np.ndarray:
        """Return the row of each user id, −1 where the id is unknown (int64)."""
        return self.users.get_indexer(pd.Index(ids))

    def item_positions(self, ids: Sequence | pd.Index) -> np.ndarray:
        """Return the column of each item id, −1 where the id is unknown (int64)."""
        return self.items.get_indexer(pd.Index(ids))

    def user_ids(self, positions: Any) -> np.ndarray:
        """Return the user ids at some positions; see `names_of`."""
        return names_of(self.users, positions)

    def item_ids(self, positions: Any) -> np.ndarray:
        """Return the item ids at some positions, such as those of a ranked list; see `names_of`."""
        return names_of(self.items, positions)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per (user, item) pair, with columns `user`, `item`, `value`."""
        pairs = self.matrix.tocoo()
        return pd.DataFrame(
            {"user": self.users[pairs.row], "item": self.items[pairs.col], "value": pairs.data}
        )

    def __repr__(self) -> str:
        return (
            f"Interactions({self.n_users:,} users × {self.n_items:,} items, "
            f"{self.matrix.nnz:,} pairs, density {self.density:.2%})"
        )


class Split(NamedTuple):
    """A train and a test part over the same users and items."""

    train: Interactions
    test: Interactions


def discovery(split: Split) -> csr_array:
    """Return the test pairs that are new: items the user had no interaction with in train.

    Parameters
    ----------
    split : Split

    Returns
    -------
    csr_array of float32, shape (n_users, n_items)
        The test matrix without the pairs that train holds.
    """
    seen = split.train.matrix.copy()
    seen.data[:] = 1
    new = (split.test.matrix - split.test.matrix.multiply(seen)).tocsr()
    new.eliminate_zeros()
    new.sort_indices()
    return new


def names_of(names: pd.Index | np.ndarray, positions: Any) -> np.ndarray:
    """Return the ids or titles at some positions, None at the empty places of a list.

    Plain indexing, `names[positions]`, would give the last name there: −1 counts from the end.

    Parameters
    ----------
    names : pandas.Index or np.ndarray, shape (n_items,)
        One per position.
    positions : array or tensor of integers, on any device and of any shape
        −1 is an empty place.

    Returns
    -------
    np.ndarray of object, shape of `positions`

    Examples
    --------
    >>> names_of(pd.Index(["bread", "milk"]), [[1, 0], [0, -1]]).tolist()
    [['milk', 'bread'], ['bread', None]]
    """
    places = np.asarray(positions.cpu() if hasattr(positions, "cpu") else positions)
    if places.size and places.dtype.kind not in "iu":
        raise ValueError(f"positions must be integers, got {places.dtype}")
    bad = (places < -1) | (places >= len(names))
    if bad.any():
        raise ValueError(
            f"positions go from 0 to {len(names) - 1}, and −1 is an empty place; got {places[bad][0]}"
        )
    found = np.full(places.shape, None, object)
    filled = places >= 0
    found[filled] = pd.Index(names)[places[filled].astype(np.int64)].to_numpy(object)
    return found


def check_columns(frame: pd.DataFrame, names: list[str]) -> None:
    """Raise a ValueError that names the first column `frame` lacks."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; the columns are {list(frame.columns)}")


def check_rows(column: pd.Series, bad: np.ndarray | pd.Series, problem: str) -> None:
    """Raise a ValueError that names the first bad row of a column, and what is there."""
    if bad.any():
        row = int(np.argmax(bad))
        value = column.iloc[row]
        shown = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"column {column.name!r}: row {row} (from 0) is {shown!r}: {problem}")


def _canonical(matrix: Any) -> csr_array:
    """Return any sparse matrix as a csr_array of float32 whose indices are sorted and unique."""
    if not issparse(matrix):
        raise ValueError(f"matrix must be a SciPy sparse matrix or array, got {type(matrix).__name__}")
    found = matrix
    if not isinstance(matrix, csr_array) or matrix.dtype != np.float32:
        found = csr_array(matrix, dtype=np.float32)
    if not found.has_canonical_format:
        found = found.copy()
        found.sum_duplicates()
    return found


def _codes(ids: pd.Series, known: pd.Index | None) -> tuple[np.ndarray, pd.Index]:
    if known is not None:
        return known.get_indexer(ids).astype(np.int32), known
    codes, found = pd.factorize(ids, sort=True)
    check_rows(ids, codes < 0, "no id")
    return codes.astype(np.int32), pd.Index(found, name=ids.name)


def _finite(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=np.float32, na_value=np.nan)
    check_rows(values, ~np.isfinite(numbers), "not a number")
    return numbers


def _events(users: np.ndarray, items: np.ndarray, values: np.ndarray, times: np.ndarray) -> pd.DataFrame:
    order = np.argsort(times, kind="stable")
    columns = {"user": users, "item": items, "value": values, "time": times}
    return pd.DataFrame({name: column[order] for name, column in columns.items()})
