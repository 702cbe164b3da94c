import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.data import (
    Interactions,
    Parts,
    split_by_time,
    split_random,
    split_stratified,
    to_matrices,
)

FRAME = pd.DataFrame(
    {
        "user": [1, 1, 1, 2, 2, 3],
        "item": [10, 11, 10, 10, 12, 11],
        "time": pd.to_datetime(
            ["2017-01-03", "2017-01-01", "2017-01-02", "2017-01-05", "2017-01-05", "2017-01-04"]
        ),
    },
    index=[60, 50, 40, 30, 20, 10],
)

SPLITS = {
    "time": lambda frame, seed: split_by_time(frame, "time", "2017-01-04"),
    "random": lambda frame, seed: split_random(frame, 0.4, seed),
    "stratified": lambda frame, seed: split_stratified(frame, "item", 0.5, seed),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_every_row_is_in_one_part_and_the_frame_is_unchanged(split):
    before = FRAME.copy()
    parts = split(FRAME, 3)
    pd.testing.assert_frame_equal(FRAME, before)
    pd.testing.assert_frame_equal(pd.concat(parts).loc[FRAME.index], FRAME)
    assert list(parts.train.columns) == list(FRAME.columns)


@pytest.mark.parametrize("name", ["random", "stratified"])
def test_the_same_seed_gives_the_same_split_and_another_seed_another(name):
    frame = pd.concat([FRAME] * 20, ignore_index=True)
    first, again, other = (SPLITS[name](frame, seed).test.index for seed in (7, 7, 8))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_generator_moves_on_from_call_to_call():
    generator = np.random.default_rng(0)
    frame = pd.concat([FRAME] * 20, ignore_index=True)
    assert not split_random(frame, 0.5, generator).test.index.equals(
        split_random(frame, 0.5, generator).test.index
    )


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002 - the point of this test
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    split_random(FRAME, 0.5, 1)
    split_stratified(FRAME, "item", 0.5, 1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_time_split_puts_the_cut_itself_into_test():
    parts = split_by_time(FRAME, "time", "2017-01-04")
    assert parts.train.index.tolist() == [60, 50, 40]
    assert parts.test.index.tolist() == [30, 20, 10]


TIMES = {
    "datetimes": FRAME["time"],
    "with a zone": FRAME["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    "dates": FRAME["time"].dt.date,
    "text": FRAME["time"].dt.strftime("%Y-%m-%d"),
    "text with a zone": FRAME["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "text with UTC": FRAME["time"].dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
    "seconds": FRAME["time"].astype("datetime64[s]").astype("int64"),
    "seconds as text": FRAME["time"].astype("datetime64[s]").astype("int64").astype(str),
    "python datetimes with zones": FRAME["time"].dt.tz_localize("UTC").astype(object),
    "categories": FRAME["time"].dt.strftime("%Y-%m-%d").astype("category"),
}
CUTS = [
    "2017-01-04",
    pd.Timestamp("2017-01-04"),
    pd.Timestamp("2017-01-04T09:00", tz="Asia/Tokyo"),
    1483488000,
]
CUTS += [pd.Timestamp("2017-01-04").date(), np.datetime64("2017-01-04")]


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"{type(cut).__name__} {cut}")
def test_times_of_all_kinds_are_split_alike(kind, cut):
    parts = split_by_time(FRAME.assign(time=TIMES[kind]), "time", cut)
    assert parts.test.index.tolist() == [30, 20, 10]
    made = Interactions.from_frame(FRAME.assign(time=TIMES[kind]), "user", "item", time="time")
    expected = FRAME["time"].sort_values().tolist()
    times = made.events["time"]
    assert (times if times.dtype.kind == "M" else pd.to_datetime(times, unit="s")).tolist() == expected


AWARE = pd.Timestamp("2017-01-01", tz="UTC")
NO_TIMES = {
    "day first": (
        ["31.12.2017"] * 2,
        r"day or month first\? Say it: pd.to_datetime\(frame\['time'\], format='%d",
    ),
    "two digits": (["17-12-31"] * 2, "day or month first"),
    "no such day": (["2017-01-01", "2017-02-30"], "row 1 .*no such day"),
    "a word": (["now", "today"], "row 0 .*'now': expected a time as 2017-12-31"),
    "a year": (["2017-01-01", "2017"], "row 1 .*the day is missing"),
    "zones here and there": (
        ["2017-01-01T00:00Z", "2017-01-01T00:00"],
        "row 1 .*name a zone and some do not",
    ),
    "mixed datetimes": ([AWARE, AWARE.tz_localize(None)], "row 1 .*name a zone and some do not"),
    "booleans": ([True, False], "row 0 .*holds boolean values"),
    "durations": (pd.to_timedelta([1, 2], unit="D"), "row 0 .*holds timedelta64 values"),
    "periods": (pd.period_range("2017-01", periods=2, freq="M"), "row 0 .*holds period values"),
    "of two kinds": ([AWARE, "2017-01-01"], "row 0 .*holds mixed values"),
    "missing": (["2017-01-01", None], "row 1 .*expected a time"),
    "far away": (["2017-01-01", "9999-12-31"], "row 1 .*between 1900 and 2099"),
    "without unit": (pd.to_datetime([20171231, 20171230]), r"row 0 .*without their unit.*format='%Y%m%d'"),
    "YYYYMMDD": (
        [20171231, 20171230],
        r"row 0 .*look like YYYYMMDD: pd.to_datetime\(frame\['time'\].astype\(str\)",
    ),
    "Excel": ([45000.5, 45001], r"look like days since 1900 \(Excel\): .*origin='1899-12-30'"),
    "years": ([2019, 2020], "look like years"),
    "days": ([1, 711], "look like numbers of days or weeks"),
    "months": ([201712, 201801], "look like YYYYMM: "),
    "milliseconds": ([1483228800000] * 2, r"look like milliseconds: .*unit='ms'"),
    "microseconds": ([1483228800000000] * 2, "unit='us'"),
    "nanoseconds": ([1483228800000000000] * 2, "unit='ns'"),
    "stamps": ([20171231183000] * 2, "look like YYYYMMDDhhmmss"),
    "below 0": ([-5, 5], "something else"),
    "infinite": ([1483228800, np.inf], "row 1 "),
}


@pytest.mark.parametrize("name", NO_TIMES)
def test_no_time_is_guessed(name):
    times, message = NO_TIMES[name]
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "time": times})
    for door in (lambda: split_by_time(frame, "time", "2017-01-01"), lambda: made(frame)):
        with pytest.raises(ValueError, match=f"column 'time': .*{message}"):
            door()


def made(frame):
    return Interactions.from_frame(frame, "user", "item", time="time")


def test_the_converting_line_of_a_message_converts():
    expected = pd.Timestamp("2017-12-31")
    for numbers in (
        [20171231],
        [43100],
        [1514678400000],
        [1514678400000000],
        [20171231000000],
        [201712310000],
    ):
        frame = pd.DataFrame({"time": numbers})
        with pytest.raises(ValueError, match=r"pd\.to_datetime") as caught:
            split_by_time(frame, "time", "2017-01-01")
        line = str(caught.value).split("look like ")[1].split(": ", 1)[1]
        assert eval(line, {"pd": pd, "frame": frame})[0] == expected


@pytest.mark.parametrize(
    "cut", ["31.12.2017", "01/02/2017", "2017", "now", None, pd.NaT, 20170104, True, "2017-13-01"]
)
def test_a_cut_that_is_no_time_is_refused(cut):
    with pytest.raises(ValueError, match=r"cut|2017-13-01"):
        split_by_time(FRAME, "time", cut)


def test_a_missing_group_is_named():
    frame = FRAME.assign(item=[10, np.nan, 10, 10, 12, 11])
    with pytest.raises(ValueError, match=r"column 'item': row 1 \(from 0\) is nan: expected a group"):
        split_stratified(frame, "item", 0.5)


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_a_column_that_is_not_there_is_named(split):
    frame = FRAME[["user"]]
    if split is not SPLITS["random"]:  # it looks at no column
        with pytest.raises(ValueError, match=r"no column .(time|item)."):
            split(frame, 0)


@pytest.mark.parametrize("cut", ["2016-12-31", "2018-01-01"])
def test_an_empty_side_is_refused_with_the_range(cut):
    with pytest.raises(ValueError, match=r"empty: column 'time' runs from 2017-01-01"):
        split_by_time(FRAME, "time", cut)


def test_a_time_split_refuses_missing_times():
    frame = FRAME.assign(time=FRAME["time"].mask(FRAME["user"] == 3))
    with pytest.raises(ValueError, match="row 5"):
        split_by_time(frame, "time", "2017-01-04")


def test_random_share_is_rounded_and_checked():
    assert len(split_random(FRAME, 0.4, 0).test) == 2
    for share in (0, 1, 1.5, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split_random(FRAME, share, 0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.05, 0.95), st.integers(0, 99))
@settings(deadline=None)
def test_stratified_keeps_the_share_in_every_group(groups, share, seed):
    frame = pd.DataFrame({"item": groups})
    train = split_stratified(frame, "item", share, seed).train["item"].value_counts()
    for item, count in frame["item"].value_counts().items():
        assert train.get(item, 0) == np.round(share * count)


def test_stratified_equals_a_plain_loop_over_groups():
    generator = np.random.RandomState(5)
    frame = pd.DataFrame({"item": generator.randint(0, 7, 200)})
    parts = split_stratified(frame, "item", 0.75, np.random.RandomState(42))
    draws = np.random.RandomState(42).rand(200)
    train = []
    for item in range(7):
        rows = np.flatnonzero(frame["item"] == item)
        train += sorted(rows[np.argsort(draws[rows])][: round(0.75 * len(rows))])
    assert sorted(train) == parts.train.index.tolist()


def test_matrices_share_ids_and_drop_what_train_does_not_know():
    parts = split_by_time(FRAME, "time", "2017-01-04")
    split = to_matrices(parts, "user", "item", time="time")
    assert split.train.users.tolist() == [1]
    assert split.test.items.equals(split.train.items)
    assert split.test.matrix.nnz == 0  # users 2 and 3 are new


def test_rare_items_are_counted_by_different_users():
    train = pd.DataFrame({"user": [1, 1, 1, 2, 3], "item": [5, 5, 5, 6, 6]})
    split = to_matrices(Parts(train, train), "user", "item", min_users_per_item=2)
    assert split.train.items.tolist() == [6]
    assert split.train.users.tolist() == [2, 3]
    with pytest.raises(ValueError, match="no item of train has 3 users or more: lower min_users_per_item"):
        to_matrices(Parts(train, train), "user", "item", min_users_per_item=3)


def test_a_return_before_the_purchase_leaves_an_item_its_users():
    frame = pd.DataFrame(
        [
            ("a", "x", -1, "2020-01-01"),
            ("a", "x", 1, "2020-01-02"),
            ("b", "x", 1, "2020-01-02"),
            ("a", "y", 1, "2020-01-03"),
        ],
        columns=["user", "item", "value", "time"],
    )
    with pytest.warns(UserWarning, match="returns"):
        split = to_matrices(Parts(frame, frame), "user", "item", "value", "time", min_users_per_item=2)
    assert list(split.train.items) == ["x"]


@pytest.mark.parametrize("cut", ["2020-01", "2020-01-03x", "2020-13-01", (2020, 1), b"2020"])
def test_a_cut_that_is_no_moment_is_refused_in_words(cut):
    frame = pd.DataFrame({"time": pd.to_datetime(["2020-01-01", "2020-02-01"])})
    with pytest.raises(ValueError, match=r"column .cut.*expected a time"):
        split_by_time(frame, "time", cut)
