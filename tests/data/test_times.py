"""Times: what is taken for seconds, which text is a time, and what is said about the rest."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys_lib.data.times import as_datetimes


def told(values, dtype=None):
    """Return the times of a column as text, or the row that is refused and what is said."""

    def refuse(bad, words):
        if bad.any():
            raise ValueError(f"row {int(np.argmax(bad))}: {words}")

    try:
        return as_datetimes(pd.Series(values, dtype=dtype, name="t"), refuse).astype(str).tolist()
    except ValueError as error:
        return str(error)


LOOKS = {
    2023123118: "YYYYMMDDhh: pd.to_datetime(frame['t'].astype(str), format='%Y%m%d%H')",
    1990123118: "YYYYMMDDhh: ",
    2312311830: "YYMMDDhhmm: pd.to_datetime(frame['t'].astype(str), format='%y%m%d%H%M')",
    1912311830: "YYMMDDhhmm: ",
    2012311830: "YYMMDDhhmm: ",
    1900000001: "something else",
    3900000000: "something else",
    20171399: "something else",
    1483228800000: "milliseconds: ",
    1483228800000000: "microseconds: ",
    1483228800000000000: "nanoseconds: ",
    131277024000000000: "something else",  # 2017 as Windows counts: 100 ns since 1601
    636188256000000000: "something else",  # 2017 as .NET counts: 100 ns since the year 1
    638396640000000000: "something else",
    13127702400000000: "something else",  # 2017 as Chrome counts: microseconds since 1601
    3692217600000: "something else",
}


@pytest.mark.parametrize("number", LOOKS)
@pytest.mark.parametrize("kind", [int, str])
def test_numbers_that_are_no_seconds_are_named_or_left_open(number, kind):
    said = told([kind(number)] * 2)
    assert f"seconds since 1970 (1973 to 2029); these look like {LOOKS[number]}" in said


def test_seconds_go_to_2029_and_datetimes_to_2099():
    assert told([1893455999]) == ["2029-12-31 23:59:59"]
    assert "something else" in told([1893456000])
    assert told(["2099-12-31"]) == ["2099-12-31"]


def test_the_first_value_that_is_no_number_is_named():
    assert told(["1483228800", "1483228800", "NULL"]).startswith("row 2: expected a time")
    assert told(["NULL", "1483228800", "1483228800"]).startswith("row 0: expected a time")
    assert told(["2020-01-01", "2020-01-02", "5"]).startswith("row 2: expected a time")


DAY = [dt.date(2020, 1, 1), dt.date(2020, 1, 2)]
ARROW = {
    "date32": (DAY, pd.ArrowDtype(pa.date32())),
    "date64": (DAY, pd.ArrowDtype(pa.date64())),
    "timestamp": (DAY, pd.ArrowDtype(pa.timestamp("us"))),
    "text": (["2020-01-01", "2020-01-02"], pd.ArrowDtype(pa.string())),
    "string[pyarrow]": (["2020-01-01", "2020-01-02"], "string[pyarrow]"),
    "string": (["2020-01-01", "2020-01-02"], "string"),
    "seconds": ([1577836800, 1577923200], pd.ArrowDtype(pa.int64())),
    "seconds in text": (["1577836800", "1577923200"], "string[pyarrow]"),
}


@pytest.mark.parametrize("kind", ARROW)
def test_columns_that_arrow_holds_are_read(kind):
    assert told(*ARROW[kind]) == ["2020-01-01", "2020-01-02"]


@pytest.mark.parametrize(
    "text",
    ["2020-01-01 ", "2020-01-01\t", " 2020-01-01 00:00 ", "2020-01-01 00:00 GMT", "2020-01-01T00:00:00 UTC "],
)
def test_blanks_around_a_time_and_gmt_are_read(text):
    assert told([text] * 2) == ["2020-01-01"] * 2


HINTS = {
    "2020-01-01Z": "a zone needs an hour: write 2020-01-01T00:00:00Z",
    "20200101T000000": "write 2020-01-01T00:00:00",
    "2020-01-01 12:00 CET": "a zone is written Z, UTC, GMT or as +01:00",
    "2020-02-30": "there is no such day, hour or zone",
    "2020-01-01T25:00": "there is no such day, hour or zone",
    "2020-01-01 12:00 pm": "convert it: pd.to_datetime(frame['t'], format='%Y-%m-%d %I:%M:%S %p')",
    "2020-01-01T12h30": "",
    "2020-01-01T12:00:00,5": "",
}


@pytest.mark.parametrize("text", HINTS)
def test_a_hint_is_given_only_where_it_is_true(text):
    hint = HINTS[text]
    assert told(["2020-01-01", text]) == (
        "row 1: expected a time as 2017-12-31, 2017-12-31T18:30:00 or seconds since 1970"
        f"{'; ' * bool(hint)}{hint}"
    )
