import numpy as np
import pandas as pd
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


def test_fractions_are_no_ids(tmp_path):
    pd.DataFrame({"user": [1.5, 2.0], "item": [1, 2]}).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match="column 'user' holds double; expected text or whole numbers"):
        load_interactions(tmp_path / "mine.parquet", user="user", item="item")


def test_milliseconds_are_not_taken_for_seconds(write):
    path = write("user,item,when\na,1,1483228800000\nb,2,1483228800001\n")
    with pytest.raises(ValueError, match="data row 1: '1483228800000'; expected a time"):
        load_interactions(path, user="user", item="item", time="when")


def test_an_enormous_file_is_refused_before_it_is_read(write, tmp_path):
    with pytest.raises(ValueError, match=r"mine\.csv has .* GiB, max_bytes allows"):
        load(write(GOOD), max_bytes=50)
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
