"""Your data: interactions from a CSV or Parquet file, checked before anything is computed from them."""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_lib.data.ids import check_ids
from recsys_lib.data.interactions import Interactions
from recsys_lib.data.tables import file_path, read_columns
from recsys_lib.data.times import as_datetimes
from recsys_lib.data.values import read_values


def load_interactions(
    path: str | Path, user: str, item: str, value: str | None = None, time: str | None = None,
    *, delimiter: str | None = None, decimal: str = ".",
) -> Interactions:  # fmt: skip
    """Load interactions from a CSV or Parquet file with one interaction per row.

    Only the named columns are read. Ids may be text or whole numbers; they are numbers only if every id of
    the column is one and is written without leading zeros. Repeated (user, item) pairs are summed, and a
    warning says how many. What a value above 0, 0 and below 0 means: see `Interactions.from_frame`.

    Parameters
    ----------
    path : str or Path
        A UTF-8 CSV file with a header line, or a Parquet file. It is only read. `~` is your home folder.
    user, item : str
        Names of the id columns.
    value : str, optional
        Name of a numeric column; without it, rows are counted.
    time : str, optional
        Name of a time column: ISO 8601 text (2017-12-31 or 2017-12-31T18:30:00, taken as UTC where it
        names no zone), seconds since 1970, or Parquet's own time types.
    delimiter : str, optional
        What separates the columns of a CSV file; by default a tab for `.tsv` and `.tab`, else a comma.
    decimal : {".", ","}
        The decimal sign of `value`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    frame = read_interactions(path, user, item, value, time, delimiter=delimiter, decimal=decimal)
    value, time = (None if name is None else str(name) for name in (value, time))
    interactions = Interactions.from_frame(frame, str(user), str(item), value, time)
    if value is not None and (frame[value] <= 0).any():
        frame = frame[frame[value] > 0]
        repeated = int(frame.duplicated([str(user), str(item)]).sum())
    else:
        repeated = len(frame) - interactions.matrix.nnz
    if repeated:
        warnings.warn(
            f"{file_path(path)}: {repeated:,} rows repeat a (user, item) pair; their values were summed",
            stacklevel=2,
        )
    return interactions


def read_interactions(
    path: str | Path, user: str, item: str, value: str | None = None, time: str | None = None,
    *, delimiter: str | None = None, decimal: str = ".",
) -> pd.DataFrame:  # fmt: skip
    """Read and check the rows of a file and change nothing: for splits, which come before returns are netted.

    The arguments are those of `load_interactions`. The table has the columns asked for, by their names: ids,
    value (float64), time (datetimes in UTC without a zone).
    """
    if decimal not in (".", ","):
        raise ValueError(f"decimal must be '.' or ',', got {decimal!r}")
    path = file_path(path)
    # The columns of files are named by text: 0 is "0" there.
    user, item, value, time = (None if name is None else str(name) for name in (user, item, value, time))
    names = [name for name in (user, item, value, time) if name is not None]
    if user is None or item is None:
        raise ValueError(f"user and item must name a column each, got {user!r} and {item!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"user, item, value and time must be different columns, got {names}")
    table = read_columns(path, names, delimiter)
    if table.num_rows == 0:
        raise ValueError(f"{path} has a header but no rows; expected one interaction per row")
    _check_rows(_plain(table[user]), _plain(table[item]), path, user, item)
    columns = {name: _ids(_plain(table[name]), path, name) for name in (user, item)}
    if value is not None:
        columns[value] = _values(_plain(table[value]), path, value, decimal)
    if time is not None:
        column = _plain(table[time])
        days = column.cast(pa.timestamp("s")) if pa.types.is_date(column.type) else column
        columns[time] = as_datetimes(days.to_pandas().rename(time), partial(_refuse, column, path, time))
    frame = pd.DataFrame(columns)
    _check_enough(frame, path, user, value)
    return frame


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return dictionaries and the other kinds of text as what they hold."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _refuse(column: pa.ChunkedArray, path: Path, name: str, bad: np.ndarray, expected: str) -> None:
    """Raise a ValueError that names file, column and row of the first bad value, and what is there."""
    if bad.any():
        row = int(np.argmax(bad))
        found = column[row].as_py()
        shown = "empty" if found is None or found == "" else repr(found)
        raise ValueError(f"{path}, column {name!r}, data row {row + 1}: {shown}; {expected}")


def _check_rows(users: pa.ChunkedArray, items: pa.ChunkedArray, path: Path, user: str, item: str) -> None:
    """Refuse rows that are none: a header between the rows of joined files, a rule of a printed table."""
    header = [re.escape(name.strip()) for name in (user, item)]
    for what, signs in (("repeats the header", header), ("is a line that was drawn", ["[-=:+_]+"] * 2)):
        hits = [_matching(*of, rf"^\s*{sign}\s*$") for *of, sign in zip((users, items), signs, strict=True)]
        _refuse(users, path, user, hits[0] & hits[1], f"expected an id, but this row {what}: remove it")


def _matching(column: pa.ChunkedArray, pattern: str) -> np.ndarray:
    """Return which rows of a column of text match; each spelling is looked at once."""
    if not pa.types.is_string(column.type):
        return np.zeros(len(column), bool)
    distinct = pc.unique(column).drop_null()
    return _mask(pc.is_in(column, distinct.filter(pc.match_substring_regex(distinct, pattern))))


def _ids(column: pa.ChunkedArray, path: Path, name: str) -> pd.Series:
    kind, refuse = column.type, partial(_refuse, column, path, name)
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_null(kind)):
        way = f"; if they are whole, write frame[{name!r}].astype('int64')"
        way *= pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        raise ValueError(f"{path}, column {name!r} holds {kind}; expected text or whole numbers as ids{way}")
    refuse(_mask(pc.is_null(column)), "expected an id")
    # "007" must stay text: as a number it would meet "7".
    whole = r"^(0|-?[1-9][0-9]{0,18})$"
    if pa.types.is_string(kind) and not pc.all(pc.match_substring_regex(pc.unique(column), whole)).as_py():
        # Readers differ in whether such quotes belong to the id.
        refuse(_matching(column, r'^\s+"'), "expected no blank before the quote of a cell")
        text = column.to_pandas()
        check_ids(text, refuse)
        return text
    try:
        return column.cast(pa.int64()).to_pandas()
    except pa.ArrowInvalid:  # more than 64 bits can count
        return column.cast(pa.string()).to_pandas()


def _values(column: pa.ChunkedArray, path: Path, name: str, decimal: str) -> pd.Series:
    numbers = column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column
    if decimal == "," and pa.types.is_string(column.type):
        # A point would be one between thousands: taken for a decimal point, it made 1.234 of 1234.
        words = "expected a finite number with a decimal comma and no point"
        _refuse(column, path, name, _matching(column, r"\."), words)
        numbers = pc.replace_substring(column, ",", ".")

    def refuse(bad: np.ndarray, expected: str) -> None:
        found = column[int(np.argmax(bad))].as_py()
        if isinstance(found, str) and decimal == "." and "finite number" in expected:
            hint = "; if that is a decimal comma, say decimal=','; if it stands between thousands, remove it"
            expected += hint * ("," in found)
        _refuse(column, path, name, bad, expected)

    return pd.Series(read_values(numbers.to_pandas(), refuse))


def _check_enough(frame: pd.DataFrame, path: Path, user: str, value: str | None) -> None:
    if value is not None:
        above = frame[value] > 0
        if not above.any():
            raise ValueError(
                f"{path}, column {value!r}: none of {len(frame):,} values is above 0, so there is no "
                "interaction (0 means that nothing happened, a value below 0 is a return)"
            )
        frame = frame[above]
    if (frame[user] == frame[user].iloc[0]).all():
        raise ValueError(
            f"{path}, column {user!r}: all interactions are of the user {frame[user].iloc[0]!r}; "
            "learning from others' behaviour needs at least 2 users"
        )


def _mask(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(bool)
