import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.data import (
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
