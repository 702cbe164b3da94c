"""Your data: interactions from a CSV or Parquet file, checked before anything is computed from them."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recsys_lib.data.interactions import Interactions
from recsys_lib.data.schemas import first_line

_SNIFFED_BYTES = 1_000_000
_GIBIBYTE = 1024**3


def load_interactions(
    path: str | Path,
    user: str,
    item: str,
    value: str | None = None,
    time: str | None = None,
    *,
    delimiter: str = ",",
    max_bytes: int = 4 * _GIBIBYTE,
) -> Interactions:
    """Load interactions from a CSV or Parquet file with one interaction per row.

    Only the named columns are read. Ids may be text or whole numbers; they are numbers only if every id of
    the column is one and is written without leading zeros. Repeated (user, item) pairs are summed, and a
    warning says how many.

    Parameters
    ----------
    path : str or Path
        A UTF-8 CSV file with a header line, or a Parquet file. It is only read.
    user, item : str
        Names of the id columns.
    value : str, optional
        Name of a numeric column; without it, rows are counted.
    time : str, optional
        Name of a time column: ISO 8601 text (2017-12-31 or 2017-12-31T18:30:00, taken as UTC where it
        names no zone), epoch seconds, or Parquet's own time types.
    delimiter : str
        What separates the columns of a CSV file; a tab for `.tsv`.
    max_bytes : int
        Larger files are refused before they fill the memory.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Naming file, column, first bad row and what was expected.
    """
    path = Path(path)
    names = [name for name in (user, item, value, time) if name is not None]
    table = _read(path, names, delimiter, max_bytes)
    if table.num_rows == 0:
        raise ValueError(f"{path} has a header but no rows; expected one interaction per row")
    columns = {name: _ids(table[name], path, name) for name in (user, item)}
    if value is not None:
        columns[value] = _numbers(table[value], path, value)
    if time is not None:
        columns[time] = _times(table[time], path, time)
    interactions = Interactions.from_frame(pd.DataFrame(columns), user, item, value, time)
    if interactions.n_users == 1:
        raise ValueError(
            f"{path}, column {user!r}: all rows have the user {interactions.users[0]!r}; "
            "learning from others' behaviour needs at least 2 users"
        )
    _tell_duplicates(path, table.num_rows - interactions.matrix.nnz)
    return interactions


def _read(path: Path, columns: list[str], delimiter: str, max_bytes: int) -> pa.Table:
    if len(set(columns)) < len(columns):
        raise ValueError(f"user, item, value and time must be different columns, got {columns}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path} is empty; expected a header line and one interaction per row")
    with path.open("rb") as file:
        head = file.read(_SNIFFED_BYTES)
    is_parquet = head.startswith(b"PAR1")
    if not is_parquet:
        _check_is_text(path, head)
    if size > max_bytes:
        raise ValueError(
            f"{path} has {size / _GIBIBYTE:.1f} GiB, max_bytes allows {max_bytes / _GIBIBYTE:.1f} GiB; "
            "expected a file that fits into memory: keep the needed columns only, or raise max_bytes"
        )
    if is_parquet:
        return _read_parquet(path, columns)
    return _read_csv(path, columns, "\t" if path.suffix == ".tsv" else delimiter, head)


def _check_is_text(path: Path, head: bytes) -> None:
    # Judged by the first megabyte, so that a huge file which is no CSV costs nothing.
    cut = len(head) == _SNIFFED_BYTES
    problem = None
    if b"\0" in head:
        problem = f"byte {head.index(0)} is zero"
    elif cut and b"\n" not in head:
        problem = "its first line does not end within a megabyte"
    else:
        try:
            # The sniffed length may cut the last character in pieces (4 bytes at most).
            (head[: head.rindex(b"\n")] if cut else head).decode()
        except UnicodeDecodeError as error:
            problem = f"byte {error.start} is not UTF-8"
    if problem:
        raise ValueError(
            f"{path} is neither Parquet nor text ({problem}); expected CSV in UTF-8 with a header line"
        )


def _read_parquet(path: Path, columns: list[str]) -> pa.Table:
    try:
        _check_columns(path, columns, pq.read_schema(path).names)
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} begins like Parquet but cannot be read: {first_line(error)}") from error


def _read_csv(path: Path, columns: list[str], delimiter: str, head: bytes) -> pa.Table:
    header = next(
        csv.reader([head.decode("utf-8-sig", errors="replace").splitlines()[0]], delimiter=delimiter), []
    )
    _check_columns(path, columns, header)
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    # Everything is read as text first: only then can a bad value be shown as it stands in the file.
    convert = pa.csv.ConvertOptions(
        include_columns=columns,
        column_types=dict.fromkeys(columns, pa.string()),
        strings_can_be_null=True,
        null_values=["", "NA", "NaN", "nan", "null", "NULL", "None"],
    )
    try:
        return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowException:
        # Arrow names the bad row only when it reads in one thread, so a broken file is read again that way.
        try:
            one_thread = pa.csv.ReadOptions(use_threads=False)
            return pa.csv.read_csv(path, one_thread, parse, convert)
        except pa.ArrowException as error:
            raise ValueError(f"{path} is no well-formed CSV: {first_line(error)}") from error


def _check_columns(path: Path, columns: list[str], found: list[str]) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {found}")


def _refuse_first(bad: np.ndarray, column: pa.ChunkedArray, path: Path, name: str, expected: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        found = column[row].as_py()
        shown = "empty" if found is None else repr(found)
        raise ValueError(f"{path}, column {name!r}, data row {row + 1}: {shown}; expected {expected}")


def _ids(column: pa.ChunkedArray, path: Path, name: str) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_integer(column.type) or _is_text(column)):
        raise ValueError(
            f"{path}, column {name!r} holds {column.type}; expected text or whole numbers as ids"
        )
    _refuse_first(_mask(pc.is_null(column)), column, path, name, "an id")
    if _is_text(column):
        # "007" must stay text: as a number it would meet "7".
        whole = pc.match_substring_regex(column, r"^(0|-?[1-9][0-9]{0,17})$")
        if pc.all(whole).as_py():
            column = column.cast(pa.int64())
    return column.to_pandas()


def _numbers(column: pa.ChunkedArray, path: Path, name: str) -> pd.Series:
    numbers = pd.to_numeric(column.to_pandas(), errors="coerce").astype("float64")
    _refuse_first(~np.isfinite(numbers.to_numpy()), column, path, name, "a finite number")
    return numbers


def _times(column: pa.ChunkedArray, path: Path, name: str) -> pd.Series:
    expected = "a time as 2017-12-31, 2017-12-31T18:30:00 or epoch seconds"
    _refuse_first(_mask(pc.is_null(column)), column, path, name, expected)
    values = column.to_pandas()
    if _is_text(column):
        seconds = pd.to_numeric(values, errors="coerce")
        if seconds.notna().all():
            values = seconds
    if pd.api.types.is_numeric_dtype(values):
        # Years 1970 to 2262: outside of it the number counts milliseconds or something else.
        _refuse_first(~values.between(0, 9.2e9).to_numpy(), column, path, name, expected)
        return pd.to_datetime(values, unit="s")
    times = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
    _refuse_first(times.isna().to_numpy(), column, path, name, expected)
    return times.dt.tz_localize(None)


def _tell_duplicates(path: Path, repeated: int) -> None:
    if repeated:
        warnings.warn(
            f"{path}: {repeated:,} rows repeat a (user, item) pair; their values were summed", stacklevel=3
        )


def _is_text(column: pa.ChunkedArray) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def _mask(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(bool)
