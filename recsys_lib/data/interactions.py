"""The sparse user × item matrix together with the ids its rows and columns stand for."""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array, issparse

from recsys_lib.data.ids import check_ids
from recsys_lib.data.times import read_times
from recsys_lib.data.values import LARGEST, SMALLEST, net_values, plain_column, read_values, summed_pairs


@dataclass(frozen=True, eq=False)
class Interactions:
    """The interactions of users with items: a sparse matrix with its ids.

    Attributes
    ----------
    matrix : csr_array of float32, shape (n_users, n_items)
        The sum of the values of each (user, item) pair, finite and above 0; column indices are sorted and
        unique. Whatever sparse matrix is given is brought into this form: pairs that are stored twice are
        added up, stored zeros left out.
    users, items : pandas.Index
        Ids of rows and columns. Row `i` of `matrix` belongs to `users[i]`.
    events : pandas.DataFrame or None
        The single interactions behind the sums, oldest first, if their time is known: columns `user` and
        `item` (int32 positions in `users` and `items`), `value` (float32, above 0) and `time` (datetimes in
        UTC without a zone, or numbers of seconds).
    """

    matrix: csr_array
    users: pd.Index
    items: pd.Index
    events: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            ids = pd.Index(getattr(self, name))
            object.__setattr__(self, name, ids)
            if not ids.is_unique:
                raise ValueError(
                    f"{name} must be unique; {ids[ids.duplicated()][0]!r} appears more than once"
                )
            if ids.hasnans:
                raise ValueError(f"{name} has no id at position {int(np.argmax(ids.isna()))}")
        object.__setattr__(self, "matrix", _canonical(self.matrix, self.users, self.items))
        if self.events is not None:
            object.__setattr__(self, "events", _checked_events(self.events, self.matrix))

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

        A value above 0 is evidence for the item; values of a pair are summed. 0 means that nothing happened
        (shown, but not clicked; a rating of 0, too). A value below 0 is a return or a correction: it takes
        back what the same user took of the same item before it, the most recent first; without times, the
        sum of the pair counts. What is left of a return is dropped, and so are pairs of which nothing is
        left, and users and items without a pair. A warning says how many rows that concerns.

        Parameters
        ----------
        frame : pandas.DataFrame
            Left as it is.
        user, item : str
            Names of the id columns.
        value : str, optional
            Name of a numeric column. Without it, rows are counted.
        time : str, optional
            Name of a time column: datetimes (UTC where they name no zone), dates, ISO 8601 text, or seconds
            since 1970. With it the single interactions are kept in `events`.
        users, items : pandas.Index, optional
            Ids and their order, for a matrix that has to match another one. Rows of `frame` with other ids
            are left out. Without them: the ids found, sorted.
        """
        check_columns(frame, [name for name in (user, item, value, time) if name is not None])
        rows, found = {}, []
        for name, column, ids in (("user", user, users), ("item", item, items)):
            rows[name], index = _codes(frame[column], ids)
            found.append(index)
        rows["value"] = np.ones(len(frame))
        if value is not None:
            rows["value"] = read_values(frame[value], partial(check_rows, frame[value]))
        if time is not None:
            rows["time"] = read_times(frame[time], partial(check_rows, frame[time])).to_numpy()
        rows = _chosen(rows, (rows["user"] >= 0) & (rows["item"] >= 0))
        if not (rows["value"] > 0).all():
            pairs = rows["user"].astype(np.int64) * len(found[1]) + rows["item"]
            left, told = net_values(pairs, rows["value"], rows.get("time"))
            warnings.warn(f"column {value!r}: {told}", stacklevel=2)
            rows = _chosen({**rows, "value": left}, left > 0)
            for place, (name, given) in enumerate((("user", users), ("item", items))):
                if given is None:  # ids of which nothing is left are as if they had not been there
                    held, rows[name] = np.unique(rows[name], return_inverse=True)
                    found[place] = found[place][held]
        shape = (len(found[0]), len(found[1]))
        matrix = coo_array((rows["value"], (rows["user"], rows["item"])), shape=shape)
        return cls(matrix, *found, None if time is None else pd.DataFrame(rows))

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
    """Return the test pairs that are new: the test matrix without the pairs that train holds."""
    seen = split.train.matrix.copy()
    seen.data[:] = 1
    return split.test.matrix - split.test.matrix.multiply(seen)  # SciPy stores no zeros of a difference


def names_of(names: pd.Index | np.ndarray, positions: Any) -> np.ndarray:
    """Return the ids or titles at some positions, None at the empty places of a list.

    Plain indexing, `names[positions]`, would give the last name there: −1 counts from the end.

    Parameters
    ----------
    names : pandas.Index or np.ndarray, shape (n_items,)
        One per position.
    positions : array or tensor of integers, on any device and of any shape
        −1 is an empty place.

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
    """Raise a ValueError that names the first column `frame` lacks, or has more than once."""
    found = list(frame.columns)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; the columns are {found}")
    repeated = [name for name in names if found.count(name) > 1]
    if repeated:
        raise ValueError(f"{found.count(repeated[0])} columns {repeated[0]!r}; expected one")


def check_rows(column: pd.Series, bad: np.ndarray | pd.Series, problem: str) -> None:
    """Raise a ValueError that names the first bad row of a column, and what is there."""
    if bad.any():
        row = int(np.argmax(bad))
        value = column.iloc[row]
        shown = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"column {column.name!r}: row {row} (from 0) is {shown!r}: {problem}")


def _canonical(matrix: Any, users: pd.Index, items: pd.Index) -> csr_array:
    """Return any sparse matrix as `summed_pairs` does, errors naming users and items."""

    def refuse(row: int, column: int, value: float) -> None:
        raise ValueError(
            f"values must be finite, not negative, and 0 or {SMALLEST:g} to {LARGEST:g}: user "
            f"{users.tolist()[row]!r} and item {items.tolist()[column]!r} have {value:g}; for returns, see "
            "from_frame"
        )

    expected = (len(users), len(items))
    if issparse(matrix) and matrix.shape != expected:
        raise ValueError(f"matrix has shape {matrix.shape}, but users and items say {expected}")
    return summed_pairs(matrix, refuse)


def _checked_events(events: pd.DataFrame, matrix: csr_array) -> pd.DataFrame:
    """Return events of 32-bit positions and values in the order of their times, which add up to `matrix`."""
    check_columns(events, ["user", "item", "value", "time"])
    for name, total in zip(("user", "item"), matrix.shape, strict=True):
        if events[name].dtype.kind not in "iu":
            raise ValueError(f"events: {name} must hold integer positions, got {events[name].dtype}")
        check_rows(events[name], ~events[name].between(0, total - 1), f"positions go from 0 to {total - 1}")
    values = read_values(events["value"], partial(check_rows, events["value"]))
    check_rows(events["value"], values <= 0, "expected a value above 0")
    times = read_times(events["time"], partial(check_rows, events["time"]))
    for axis, name in enumerate(("user", "item")):
        sums = np.bincount(events[name], values, minlength=matrix.shape[axis])
        if not np.allclose(sums, matrix.sum(axis=1 - axis, dtype=np.float64), rtol=1e-4, atol=1e-30):
            raise ValueError(f"events and matrix do not belong together: their sums per {name} differ")
    columns = {"user": np.int32, "item": np.int32, "value": np.float32}
    plain = {name: events[name].to_numpy(kind) for name, kind in columns.items()} | {"time": times.to_numpy()}
    if not times.is_monotonic_increasing:
        plain = _chosen(plain, np.argsort(plain["time"], kind="stable"))
    return pd.DataFrame(plain)


def _chosen(rows: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Pick rows by a mask or by positions; all of them are not copied."""
    if chosen.dtype == bool and chosen.all():
        return rows
    return {name: column[chosen] for name, column in rows.items()}


def _codes(ids: pd.Series, known: pd.Index | None) -> tuple[np.ndarray, pd.Index]:
    """Return the position of every id, and the ids: those given, or those found in ascending order."""
    ids = plain_column(ids)
    check_rows(ids, ids.isna().to_numpy(), "no id")
    kind = pd.api.types.infer_dtype(ids)
    if kind.startswith("mixed"):
        raise ValueError(f"column {ids.name!r} holds ids of several types ({kind}), such as 1 and '1'")
    if known is None:
        check_ids(ids, partial(check_rows, ids))
        codes, found = pd.factorize(ids, sort=True)
        return codes.astype(np.int32), pd.Index(found, name=ids.name)
    if len(ids) and len(known) and kind != known.inferred_type:
        raise ValueError(
            f"column {ids.name!r} holds {kind} ids, but the ids to match are {known.inferred_type}"
        )
    return known.get_indexer(ids).astype(np.int32), known
