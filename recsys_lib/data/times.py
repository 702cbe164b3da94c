"""Times that can be believed: dates as they are, seconds since 1970, and a word about whatever else it is."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_lib.data.values import Refuse, plain_column
from recsys_lib.files import read_rows

EXPECTED = "expected a time as 2017-12-31, 2017-12-31T18:30:00 or seconds since 1970"

_SECONDS = (1e8, 1_893_455_999)  # 1973 to 2029: outside of it, a number counts something else
_YEARS = ("1900-01-01", "2100-01-01")
_DAY = r"\s*\d{4}-\d{1,2}-\d{1,2}"
_CLOCK = r"[T ]\d{1,2}(?::\d{2}(?::\d{2}(?:\.\d+)?)?)?"
_ZONE = r"\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)"
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_DATES = ("date", "datetime", "datetime64")

# What numbers that are no seconds may be: lowest, highest, what they look like, and how to convert them, by
# a format of digits or else by a line of pandas. Units lie between 1990 and 2029 (nanoseconds from August
# 1990 on, where .NET's ticks of today are past): ticks and other counts must not be taken for them.
_GUESSES = read_rows(Path(__file__).with_name("time_guesses.csv"))
_SHAPES = (
    (_DAY + r" .*[ap]m\s*", "convert it: pd.to_datetime({}, format='%Y-%m-%d %I:%M:%S %p')"),
    (_DAY + f"(?:{_CLOCK}(?:{_ZONE})?)?" + r"\s*", "there is no such day, hour or zone"),
    (_DAY + _ZONE + r"\s*", "a zone needs an hour: write 2020-01-01T00:00:00Z"),
    (_DAY + _CLOCK + r"\s*[A-Za-z]+(?:/\w+)*\s*", "a zone is written Z, UTC, GMT or as +01:00"),
    (r"\s*\d{8}[T ]\d{2}.*", "write 2020-01-01T00:00:00"),
    (r"\s*\d{4}/\d{1,2}/\d{1,2}.*", "convert it: pd.to_datetime({}, format='%Y/%m/%d')"),
    (
        r"\s*\d{1,2}([./-])\d{1,2}\1\d{2,4}.*",
        "day or month first? Say it: pd.to_datetime({}, format='%d.%m.%Y'), or '%m/%d/%Y', or '%d/%m/%y'",
    ),
    (r"\s*\d{4}(-\d{1,2})?\s*", "the day is missing"),
)


def read_times(column: pd.Series, refuse: Refuse) -> pd.Series:
    """Return a column of times as datetimes in UTC without a zone; numbers of seconds stay numbers.

    Datetimes with or without a zone, dates, ISO 8601 text, or seconds since 1970 between 1973 and 2029.
    """
    column = plain_column(_of_numpy(column))
    refuse(column.isna().to_numpy(), EXPECTED)
    if column.empty:
        return column if pd.api.types.is_numeric_dtype(column) else column.astype("datetime64[ns]")
    kind = pd.api.types.infer_dtype(column)
    if kind == "string":
        return _from_text(column, refuse)
    if kind in _NUMBERS:
        return _seconds(pd.to_numeric(column), refuse)
    if kind not in _DATES:
        refuse(np.ones(len(column), bool), f"{EXPECTED}, but this column holds {kind} values")
    if column.dtype == object:
        zoned = np.array([getattr(value, "tzinfo", None) is not None for value in column])
        refuse(zoned != zoned[:1].all(), "some times of this column name a zone and some do not")
        column = pd.to_datetime(column, utc=True)
    return _plausible(_without_zone(column), refuse)


def as_datetimes(column: pd.Series, refuse: Refuse) -> pd.Series:
    """Return a column of times, seconds included, as datetimes in UTC without a zone."""
    times = read_times(column, refuse)
    return pd.to_datetime(times, unit="s") if pd.api.types.is_numeric_dtype(times) else times


def _of_numpy(column: pd.Series) -> pd.Series:
    """Return a column that Arrow holds as the same without Arrow; any other as it is."""
    if not isinstance(column.dtype, pd.ArrowDtype | pd.StringDtype):
        return column
    return pa.array(column, from_pandas=True).to_pandas().set_axis(column.index).rename(column.name)


def _from_text(column: pd.Series, refuse: Refuse) -> pd.Series:
    # Dates are no numbers: that the first rows are none saves a slow look at all of them.
    if pd.to_numeric(column.head(100), errors="coerce").notna().mean() > 0.5:
        seconds = pd.to_numeric(column, errors="coerce")
        words = seconds.isna()
        if words.mean() < 0.5:
            refuse(words.to_numpy(), f"{EXPECTED}; most of this column are numbers")
            return _seconds(seconds, refuse)
    text = pc.utf8_trim_whitespace(pa.array(column, pa.string(), from_pandas=True))
    # pandas alone would take "now", "2017" and other things for moments, and a time without zone for UTC.
    formed = _matches(text, f"^{_DAY}(?:{_CLOCK})?\\s*$")
    zoned = np.zeros_like(formed) if formed.all() else _matches(text, f"^{_DAY}{_CLOCK}{_ZONE}\\s*$")
    if zoned.any():
        text = pc.replace_substring_regex(text, r"\s*(?:UTC|GMT)$", "Z")
    stamps = pd.Series(text.to_pandas().to_numpy(), column.index).where(formed | zoned)
    times = pd.to_datetime(stamps, format="ISO8601", errors="coerce", utc=True)
    bad = times.isna().to_numpy()
    if bad.any():
        found = column.iloc[int(np.argmax(bad))]
        fitting = (words for shape, words in _SHAPES if re.fullmatch(shape, found, re.DOTALL | re.IGNORECASE))
        hint = next(fitting, "").format(f"frame[{column.name!r}]")
        refuse(bad, f"{EXPECTED}; {hint}".removesuffix("; "))
    refuse(zoned != zoned[0], "some times of this column name a zone and some do not")
    return _plausible(_without_zone(times), refuse)


def _matches(text: pa.Array, pattern: str) -> np.ndarray:
    return pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False).astype(bool)


def _seconds(numbers: pd.Series, refuse: Refuse) -> pd.Series:
    bad = ~numbers.between(*_SECONDS).to_numpy(bool)
    if bad.any():
        found = float(numbers.iloc[int(np.argmax(bad))])
        looks, way = _guess(found, f"frame[{numbers.name!r}]")
        refuse(bad, f"{EXPECTED} (1973 to 2029); these look like {looks}{': ' * bool(way)}{way}")
    return numbers


def _guess(found: float, column: str) -> tuple[str, str]:
    """Return what a number looks like that is no second, and the line that converts its column."""
    for row in _GUESSES:
        looks, way = row["looks"], row["way"]
        if not float(row["low"]) <= found <= float(row["high"]):
            continue
        if not way.startswith("%"):
            return looks, way.format(column)
        digits = str(int(found)) if found == int(found) else ""
        if pd.notna(pd.to_datetime(digits, format=way, errors="coerce")):
            return looks, f"pd.to_datetime({column}.astype(str), format='{way}')"
    return "something else", ""


def _plausible(times: pd.Series, refuse: Refuse) -> pd.Series:
    first, last = map(pd.Timestamp, _YEARS)
    refuse(((times < first) | (times >= last)).to_numpy(), "expected a time between 1900 and 2099")
    in_1970 = (times >= pd.Timestamp("1970-01-01")) & (times < pd.Timestamp("1971-01-01"))
    refuse(
        in_1970.to_numpy(),
        f"{EXPECTED}; in 1970 lies what becomes of numbers that are converted without their unit: "
        f"pd.to_datetime(numbers, unit='s'), or format='%Y%m%d' of their text",
    )
    return times


def _without_zone(times: pd.Series) -> pd.Series:
    return times if times.dt.tz is None else times.dt.tz_convert("UTC").dt.tz_localize(None)
