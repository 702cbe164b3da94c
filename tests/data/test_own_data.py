import datetime as dt
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_lib.data import load_interactions
from recsys_lib.files import sha256

GOOD = (
    "user,item,stars,when,note\nann,7,4,2017-01-02,x\nbob,7,5,2017-01-01T12:30:00,\nann,9,1.5,2017-01-03,z\n"
)


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "mine.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def load(path, **options):
    return load_interactions(path, user="user", item="item", value="stars", time="when", **options)


def test_a_good_csv_is_read_and_left_alone(write):
    path = write(GOOD)
    before = sha256(path)
    made = load(path)
    assert made.users.tolist() == ["ann", "bob"]
    assert made.items.tolist() == [7, 9]
    np.testing.assert_array_equal(made.matrix.toarray(), [[4, 1.5], [5, 0]])
    assert made.events["time"].tolist()[0] == pd.Timestamp("2017-01-01 12:30:00")
    assert sha256(path) == before


def test_parquet_gives_the_same_as_csv(write, tmp_path):
    frame = pd.read_csv(write(GOOD), parse_dates=["when"], date_format="ISO8601")
    frame.to_parquet(tmp_path / "mine.parquet")
    left, right = load(tmp_path / "mine.parquet"), load(write(GOOD))
    np.testing.assert_array_equal(left.matrix.toarray(), right.matrix.toarray())
    assert left.users.equals(right.users)
    assert left.items.equals(right.items)
    assert left.events["time"].tolist() == right.events["time"].tolist()


def test_ids_with_leading_zeros_stay_text(write):
    made = load_interactions(write("u,i\n007,1\n7,2\n"), user="u", item="i")
    assert made.users.tolist() == ["007", "7"]
    assert made.items.dtype == np.int64


def test_without_value_and_time_rows_are_counted(write):
    made = load_interactions(write(GOOD), user="user", item="item")
    np.testing.assert_array_equal(made.matrix.toarray(), [[1, 1], [1, 0]])


def test_duplicates_are_summed_and_said(write):
    path = write(GOOD + "ann,7,2,2017-01-09,\n")
    with pytest.warns(UserWarning, match=r"mine\.csv: 1 rows repeat a \(user, item\) pair"):
        made = load(path)
    assert made.matrix[[0], [0]].item() == 6


def test_epoch_seconds_zones_tabs_and_quotes(write):
    path = write('"user"\titem\twhen\n"a,b"\t1\t1483228800\nc\t2\t1483228801\n', "mine.tsv")
    made = load_interactions(path, user="user", item="item", time="when")
    assert made.users.tolist() == ["a,b", "c"]
    assert made.events["time"].tolist()[0] == pd.Timestamp("2017-01-01")
    zoned = write("user,item,when\na,1,2017-01-01T01:00:00+01:00\nb,2,2017-01-01T00:00:00Z\n")
    made = load_interactions(zoned, user="user", item="item", time="when")
    assert made.events["time"].tolist() == [pd.Timestamp("2017-01-01")] * 2


LINES = GOOD.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (LINES[0], "has a header but no rows"),
        (
            GOOD.replace("stars", "grade"),
            r"no column 'stars'; it has \['user', 'item', 'grade', 'when', 'note'\]",
        ),
        (GOOD.replace("bob,", ","), r"column 'user', data row 2: empty; expected an id"),
        (GOOD.replace("ann,9", "ann,"), r"column 'item', data row 3: empty; expected an id"),
        (GOOD.replace(",5,", ",five,"), r"column 'stars', data row 2: 'five'; expected a finite number"),
        (GOOD.replace(",5,", ",,"), r"column 'stars', data row 2: empty; expected a finite number"),
        (GOOD.replace(",5,", ",inf,"), r"column 'stars', data row 2: 'inf'; expected a finite number"),
        (
            GOOD.replace("2017-01-03", "31/12/2017"),
            r"column 'when', data row 3: '31/12/2017'; expected a time",
        ),
        (
            GOOD.replace("2017-01-03", "2017-02-30"),
            r"column 'when', data row 3: '2017-02-30'; expected a time",
        ),
        (GOOD.replace("2017-01-03", ""), r"column 'when', data row 3: empty; expected a time"),
        (GOOD.replace("bob", "ann").replace("ann,9", "ann,7"), r"'ann'; learning .* at least 2 users"),
        (GOOD + "carl,1\n", r"no well-formed CSV: .*[Rr]ow #5: Expected 5 columns, got 2"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither Parquet nor text"),
        (GOOD.replace("ann", "änn").encode("latin-1"), r"neither Parquet nor text \(byte 26 is not UTF-8\)"),
        (b"PAR1 and then nothing that Parquet knows", "begins like Parquet but cannot be read"),
        (b"a" * 1_500_000, "first line does not end within a megabyte"),
    ],
    ids=lambda value: None if isinstance(value, (str, bytes)) and len(value) > 60 else str(value)[:30],
)
def test_bad_files_are_refused_with_file_column_and_row(write, content, message):
    path = write(content)
    before = sha256(path)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert "mine.csv" in str(caught.value)
    assert sha256(path) == before


COLUMNS = {
    "NA": (
        "user,item\na,x\nNA,y\n",
        r"'user', data row 2: 'NA'; expected an id, and this reads as a missing one",
    ),
    "None": ("user,item\na,x\nNone,y\n", "data row 2: 'None'; .*rename it if it is one"),
    "null": ("user,item\na,x\nb,null\n", "'item', data row 2: 'null'"),
    "nan": ("user,item\na,x\nb,nan\n", "'item', data row 2: 'nan'"),
    "blank": ("user,item\na,x\n  ,y\n", "'user', data row 2: '  '"),
    "two ways": (
        "user,item\n1,x\n2,y\n1.0,y\n",
        "'user', data row 3: '1.0'; the ids '1' and '1.0' differ only by a .0",
    ),
    "spaces": (
        "user,item\na,x\n a,y\nb,y\n",
        "'user', data row 2: ' a'; the ids 'a' and ' a' differ only by spaces",
    ),
    "no-break space": (
        "user,item\na,x\nb,x\u00a0\n",
        r"'item', data row 2: .*the ids 'x' and 'x\\xa0' differ only by spaces",
    ),
    "blank before quote": ('user,item\n"a", "x"\nb,y\n', "'item', data row 1: .*no blank before the quote"),
    "decimal comma": (
        'user,item,stars\na,x,1\nb,y,"1,5"\n',
        r"'stars', data row 2: '1,5'; .*say decimal=','",
    ),
    "too large": (
        "user,item,stars\na,x,1\nb,y,1e39\n",
        "'stars', data row 2: '1e39'; expected 0 or",
    ),
    "too small": (
        "user,item,stars\na,x,1\nb,y,1e-60\n",
        "'stars', data row 2: '1e-60'; expected 0 or",
    ),
    "thousands or decimal": (
        'user,item,stars\na,x,1\nb,y,"1,234"\n',
        "'1,234'; .*if that is a decimal comma, say decimal=','; if it stands between thousands, remove",
    ),
    "thousands": ('user,item,stars\na,x,1\nb,y,"1,234,567"\n', "'1,234,567'; .*thousands, remove it$"),
    "thousands and a point": ('user,item,stars\na,x,1\nb,y,"1,234.5"\n', "thousands, remove it$"),
    "header again": ("user,item\na,x\nb,y\nuser,item\nc,z\n", "data row 3: 'user'; .*repeats the header"),
    "header again, numbers": ("user,item\n1,2\n user ,item\n2,2\n", "data row 2: .*repeats the header"),
    "a rule": ("user,item\n----,----\na,x\nb,y\n", "data row 1: '----'; .*a line that was drawn"),
    "a rule of markdown": ("user,item\n:--,--:\na,x\nb,y\n", "data row 1: ':--'; .*a line that was drawn"),
    "hexadecimal": ("user,item,stars\na,x,1\nb,y,0x10\n", "data row 2: '0x10'; expected a finite number"),
    "all 0": ("user,item,stars\na,x,0\nb,y,-1\n", "'stars': none of 2 values is above 0"),
    "one user left": ("user,item,stars\na,x,1\nb,y,0\n", "'user': all interactions are of the user 'a'"),
    "a number": ("user,item\na,x\nb,y\n", "no column '5'"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_doubtful_columns_are_refused_with_what_stands_there(name, write):
    content, message = COLUMNS[name]
    value = "stars" if "stars" in content else 5 if name == "a number" else None
    with pytest.raises(ValueError, match=message) as caught:
        load_interactions(write(content), "user", "item", value)
    assert "mine.csv" in str(caught.value)


def test_ids_stay_as_they_are_written(write):
    made = load_interactions(write("user,item\n x,9223372036854775807\ny ,-5\n1.0,0\n"), "user", "item")
    assert made.users.tolist() == [" x", "1.0", "y "]
    assert made.items.tolist() == [-5, 0, 9223372036854775807]
    made = load_interactions(write("user,item\na,9223372036854775808\nb,5\n"), "user", "item")
    assert made.items.tolist() == ["5", "9223372036854775808"]


def test_columns_may_be_named_by_numbers(write):
    path = write("0,1,2\na,x,3\nb,y,4\n")
    made = load_interactions(path, 0, 1, 2)
    assert made.matrix.data.tolist() == [3, 4]
    with pytest.raises(ValueError, match="user and item must name a column each, got None and 'item'"):
        load_interactions(path, None, "item")


def test_a_decimal_comma_is_read_if_it_is_said(write):
    path = write("user;item;stars\na;x;1,5\nb;y;2\n")
    made = load_interactions(path, "user", "item", "stars", delimiter=";", decimal=",")
    assert made.matrix.data.tolist() == [1.5, 2]
    path = write("user;item;stars\na;x;1.234\nb;y;2\n")  # 1234, or 1 and a quarter?
    with pytest.raises(ValueError, match=r"data row 1: '1\.234'; .*a decimal comma and no point"):
        load_interactions(path, "user", "item", "stars", delimiter=";", decimal=",")
    path = write("user;item;stars\na;x;1,2,3\nb;y;2\n")
    with pytest.raises(ValueError, match=r"data row 1: '1,2,3'; expected a finite number$"):
        load_interactions(path, "user", "item", "stars", delimiter=";", decimal=",")
    with pytest.raises(ValueError, match=r"decimal must be '\.' or ',', got ';'"):
        load_interactions(path, "user", "item", "stars", delimiter=";", decimal=";")


def test_what_values_mean_holds_for_files_too(write):
    path = write("user,item,stars\na,x,3\na,x,-1\na,y,0\nb,y,2\nc,z,0\n")
    with pytest.warns(UserWarning, match="column 'stars': rows of 0, .*returns") as caught:
        made = load_interactions(path, "user", "item", "stars")
    assert len(caught) == 1
    assert made.to_frame().to_numpy().tolist() == [["a", "x", 2], ["b", "y", 2]]
    path = write("user,item,stars\na,x,3\na,x,2\na,x,-5\nb,y,2\nb,y,1\na,y,1\n")
    with pytest.warns(UserWarning, match=r"returns|repeat") as caught:
        made = load_interactions(path, "user", "item", "stars")
    assert len(caught) == 2  # what is summed besides
    assert "mine.csv: 2 rows repeat a (user, item) pair" in str(caught[1].message)
    assert made.matrix.toarray().tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "expected the path of a CSV or Parquet file, got None"),
        (5, "expected the path of a CSV or Parquet file, got 5"),
        ("", "is a folder"),
        ("https://example.org/mine.csv", "is an address; .*download it first"),
        (Path("s3://bucket/mine.csv"), "is an address; .*download it first"),
        (".", "is a folder; expected a CSV or Parquet file"),
    ],
)
def test_what_is_no_path_of_a_file(path, message):
    with pytest.raises(ValueError, match=message):
        load_interactions(path, "user", "item")


def test_paths_are_named_whole(write, tmp_path, monkeypatch):
    write(GOOD)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load("~/mine.csv").n_users == load("mine.csv").n_users == 2
    for missing in ("nowhere.csv", "~/nowhere.csv"):
        with pytest.raises(FileNotFoundError) as caught:
            load(missing)
        assert str(caught.value) == f"{tmp_path / 'nowhere.csv'} does not exist or is no file"


MOMENT = dt.datetime(2017, 1, 1, 12)
TIMES = {
    "date32": pa.array([dt.date(2017, 1, 1)] * 2, pa.date32()),
    "date64": pa.array([dt.date(2017, 1, 1)] * 2, pa.date64()),
    "with a zone": pa.array([MOMENT] * 2, pa.timestamp("ms", "Asia/Tokyo")),
    "nanoseconds": pa.array([MOMENT] * 2, pa.timestamp("ns")),
    "text": pa.array(["2017-01-01T13:00+01:00", "2017-01-01 12:00 UTC"]),
    "seconds": pa.array([1483272000] * 2),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_parquet(kind, tmp_path):
    pq.write_table(
        pa.table({"user": ["a", "b"], "item": [1, 2], "t": TIMES[kind]}), tmp_path / "mine.parquet"
    )
    made = load_interactions(tmp_path / "mine.parquet", "user", "item", time="t")
    assert made.events["time"].dt.date.tolist() == [dt.date(2017, 1, 1)] * 2
    if not kind.startswith("date"):
        assert made.events["time"].tolist() == [MOMENT] * 2


PARQUET_IDS = {
    "dictionary": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    "large": (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
    "view": (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
    "small numbers": (pa.array([1, 200], pa.uint8()), [1, 200]),
    "large numbers": (pa.array([1, 2**64 - 1], pa.uint64()), ["1", str(2**64 - 1)]),
    "numbers as text": (pa.array(["1", "2"]), [1, 2]),
    "fractions": (pa.array([1.0, 2.0]), r"holds double; .*\['user'\]\.astype\('int64'\)"),
    "decimals": (
        pa.array([Decimal("1"), Decimal("2")]),
        r"holds decimal128.*; .*\['user'\]\.astype\('int64'\)",
    ),
    "missing": (pa.array(["a", None]), "data row 2: empty; expected an id"),
    "nothing": (pa.nulls(2), "data row 1: empty; expected an id"),
    "nested": (pa.array([{"id": 1}] * 2), "holds struct<id: int64>; expected text or whole numbers"),
    "lists": (pa.array([[1]] * 2), "holds list<.*; expected text or whole numbers"),
    "bytes": (pa.array([b"a", b"b"]), "holds binary; expected text or whole numbers"),
    "booleans": (pa.array([True, False]), "holds bool; expected text or whole numbers"),
    "dates": (TIMES["date32"], "holds date32"),
    "reads as missing": (pa.array(["a", "NA"]), "data row 2: 'NA'; expected an id"),
}


@pytest.mark.parametrize("kind", PARQUET_IDS)
def test_ids_of_parquet(kind, tmp_path):
    ids, expected = PARQUET_IDS[kind]
    pq.write_table(pa.table({"user": ids, "item": [1, 2]}), tmp_path / "mine.parquet")
    if isinstance(expected, list):
        made = load_interactions(tmp_path / "mine.parquet", "user", "item")
        assert made.users.tolist() == expected
    else:
        with pytest.raises(ValueError, match=rf"mine\.parquet, column 'user'.*{expected}"):
            load_interactions(tmp_path / "mine.parquet", "user", "item")


OTHERS = {
    "boolean value": (pa.array([True, False]), "boolean values", "value"),
    "timestamp value": (TIMES["nanoseconds"], "datetime64 values", "value"),
    "date value": (TIMES["date32"], "date values", "value"),
    "duration value": (pa.array([1, 2], pa.duration("s")), "timedelta64 values", "value"),
    "bytes value": (pa.array([b"1", b"2"]), "bytes values", "value"),
    "missing value": (pa.array([1, None]), "2: empty; expected a finite number", "value"),
    "boolean time": (pa.array([True, False]), "boolean values", "time"),
    "duration time": (pa.array([1, 2], pa.duration("s")), "timedelta64 values", "time"),
    "clock time": (pa.array([1, 2], pa.time32("s")), "holds time values", "time"),
    "day number": (pa.array([1, 2]), "1: 1; .*numbers of days", "time"),
    "numbers as nanoseconds": (pa.array([20170101] * 2, pa.timestamp("ns")), "without their unit", "time"),
    "missing time": (pa.array([MOMENT, None]), "2: empty; expected a time", "time"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_columns_of_parquet_are_refused(name, tmp_path):
    column, message, role = OTHERS[name]
    pq.write_table(pa.table({"user": ["a", "b"], "item": [1, 2], "c": column}), tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match=rf"mine\.parquet, column 'c', data row .*{message}"):
        load_interactions(tmp_path / "mine.parquet", "user", "item", **{role: "c"})


def test_decimals_and_names_with_dots_and_repeated_names(tmp_path):
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"user.id": ["a", "b"], "item": [1, 2], "v": [Decimal("1.5")] * 2}), path)
    assert load_interactions(path, "user.id", "item", "v").matrix.data.tolist() == [1.5, 1.5]
    pq.write_table(pa.table([pa.array(["a", "b"])] * 3, ["user", "item", "user"]), path)
    with pytest.raises(ValueError, match="has 2 columns 'user'; expected one"):
        load_interactions(path, "user", "item")


def test_fractions_are_no_ids(tmp_path):
    pd.DataFrame({"user": [1.5, 2.0], "item": [1, 2]}).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match="column 'user' holds double; expected text or whole numbers"):
        load_interactions(tmp_path / "mine.parquet", user="user", item="item")


def test_milliseconds_are_not_taken_for_seconds(write):
    path = write("user,item,when\na,1,1483228800000\nb,2,1483228800001\n")
    with pytest.raises(ValueError, match="data row 1: '1483228800000'; expected a time"):
        load_interactions(path, user="user", item="item", time="when")


def test_an_enormous_file_is_refused_before_it_is_read(write, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=50))
        with pytest.raises(ValueError, match=r"mine\.csv has \d+ bytes, and 50 of memory are free"):
            load(write(GOOD))
    # A sparse file: 64 GiB to the eye, nothing on the disk.
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(64 * 1024**3)
    with pytest.raises(ValueError, match="neither Parquet nor text"):
        load(huge)


def test_missing_file_and_repeated_names(write):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load("nowhere.csv")
    with pytest.raises(ValueError, match="different columns"):
        load_interactions(write(GOOD), user="user", item="user")
