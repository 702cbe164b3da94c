import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_lib.data import Interactions, Split, discovery

FRAME = pd.DataFrame(
    {
        "who": ["b", "a", "b", "b"],
        "what": [7, 7, 3, 7],
        "much": [1.0, 2.0, 4.0, 8.0],
        "when": pd.to_datetime(["2017-03-01", "2017-01-01", "2017-02-01", "2017-01-15"]),
    }
)


def test_values_are_summed_per_pair_and_ids_are_sorted():
    made = Interactions.from_frame(FRAME, "who", "what", "much")
    assert list(made.users) == ["a", "b"]
    assert list(made.items) == [3, 7]
    np.testing.assert_array_equal(made.matrix.toarray(), [[0, 2], [4, 9]])
    assert made.matrix.dtype == np.float32
    assert made.matrix.has_canonical_format


def test_without_a_value_rows_are_counted():
    made = Interactions.from_frame(FRAME, "who", "what")
    np.testing.assert_array_equal(made.matrix.toarray(), [[0, 1], [1, 2]])
    assert made.events is None


def test_events_are_in_time_order_and_add_up_to_the_matrix():
    made = Interactions.from_frame(FRAME, "who", "what", "much", "when")
    assert made.events["time"].is_monotonic_increasing
    assert made.events["value"].tolist() == [2.0, 8.0, 4.0, 1.0]
    again = np.zeros(made.matrix.shape)
    np.add.at(again, (made.events["user"], made.events["item"]), made.events["value"])
    np.testing.assert_array_equal(again, made.matrix.toarray())


def test_given_ids_fix_the_shape_and_leave_others_out():
    users, items = pd.Index(["b", "c"]), pd.Index([7, 9, 3])
    made = Interactions.from_frame(FRAME, "who", "what", "much", "when", users=users, items=items)
    np.testing.assert_array_equal(made.matrix.toarray(), [[9, 0, 4], [0, 0, 0]])
    assert len(made.events) == 3


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_an_empty_place_has_no_name(kind):
    made = Interactions.from_frame(FRAME, "who", "what")
    names = made.item_ids(kind([[1, 0], [0, -1]]))
    assert names.dtype == object
    assert names.tolist() == [[7, 3], [3, None]]
    assert made.user_ids(kind([-1, 1])).tolist() == [None, "b"]


@pytest.mark.parametrize("nothing", [[], np.empty((0, 3), np.int64), np.full((2, 3), -1)])
def test_no_positions_have_no_names(nothing):
    names = Interactions.from_frame(FRAME, "who", "what").item_ids(nothing)
    assert names.shape == np.shape(nothing)
    assert not names.any()


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0, 2], "positions go from 0 to 1, and −1 is an empty place; got 2"),
        ([[-2]], "got -2"),
        ([0.0], "must be integers, got float64"),
        ([True], "must be integers, got bool"),
    ],
)
def test_other_positions_have_no_names(positions, message):
    with pytest.raises(ValueError, match=message):
        Interactions.from_frame(FRAME, "who", "what").item_ids(positions)


def test_the_frame_is_left_as_it_was():
    before = FRAME.copy()
    Interactions.from_frame(FRAME, "who", "what", "much", "when")
    pd.testing.assert_frame_equal(FRAME, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"who": ["b", None, "b", "b"]}, r"column 'who': row 1 .* no id"),
        ({"much": [1.0, np.nan, 4.0, 8.0]}, r"column 'much': row 1 .* a finite number"),
        ({"much": [1.0, 2.0, np.inf, 8.0]}, r"column 'much': row 2 .* a finite number"),
    ],
)
def test_missing_ids_and_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Interactions.from_frame(FRAME.assign(**change), "who", "what", "much")


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"no column 'user'.*who"):
        Interactions.from_frame(FRAME, "user", "what")


def test_a_column_that_is_there_twice_is_named():
    twice = pd.concat([FRAME, FRAME[["what"]]], axis=1)
    with pytest.raises(ValueError, match="2 columns 'what'; expected one"):
        Interactions.from_frame(twice, "who", "what")
    assert Interactions.from_frame(twice, "who", "much").n_users == 2


def test_ids_must_be_unique_and_fit_the_matrix():
    made = Interactions.from_frame(FRAME, "who", "what")
    with pytest.raises(ValueError, match="'a' appears more than once"):
        Interactions(made.matrix, pd.Index(["a", "a"]), made.items)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        Interactions(made.matrix, made.users, pd.Index([1]))


def test_discovery_keeps_what_train_has_not():
    train = Interactions.from_frame(FRAME, "who", "what")
    later = pd.DataFrame({"who": ["a", "a", "b"], "what": [3, 7, 7]})
    test = Interactions.from_frame(later, "who", "what", users=train.users, items=train.items)
    new = discovery(Split(train, test))
    np.testing.assert_array_equal(new.toarray(), [[1, 0], [0, 0]])
    assert new.nnz == 1
    assert new.format == "csr"
    assert new.has_canonical_format
    assert test.matrix.nnz == 3


pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3), st.integers(1, 9)), min_size=1, max_size=40)


@given(pairs)
@settings(deadline=None)
def test_to_frame_gives_back_the_sums(rows):
    frame = pd.DataFrame(rows, columns=["user", "item", "value"])
    made = Interactions.from_frame(frame, "user", "item", "value").to_frame()
    expected = frame.groupby(["user", "item"], as_index=False)["value"].sum()
    pd.testing.assert_frame_equal(made, expected, check_dtype=False)


@pytest.mark.parametrize(
    "kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "csr_matrix", "float64", "int64", "messy"]
)
def test_every_kind_of_sparse_matrix_means_the_same(kind):
    dense = np.array([[0, 2, 0, 1], [3, 0, 0, 0]], np.float32)
    if kind == "csr_matrix":
        matrix = scipy.sparse.csr_matrix(dense)
    elif kind in ("float64", "int64"):
        matrix = csr_array(dense).astype(kind)
    elif kind == "messy":  # unsorted, and one pair twice
        matrix = csr_array((np.float32([1, 1, 1, 3]), [3, 1, 1, 0], [0, 3, 4]), shape=(2, 4))
    else:
        matrix = csr_array(dense).asformat(kind)
    made = Interactions(matrix, pd.RangeIndex(2), pd.RangeIndex(4))
    assert isinstance(made.matrix, csr_array)
    assert made.matrix.dtype == np.float32
    assert made.matrix.has_canonical_format
    np.testing.assert_array_equal(made.matrix.toarray(), dense)
    if kind == "messy":
        assert matrix.nnz == 4  # the caller's stays as it is


def test_a_dense_matrix_is_refused():
    with pytest.raises(ValueError, match="SciPy sparse matrix or array of 2 dimensions, got ndarray"):
        Interactions(np.eye(2), pd.RangeIndex(2), pd.RangeIndex(2))


@pytest.mark.parametrize("times", [[1.0, np.nan, 2.0], pd.to_datetime(["2020-01-01", None, "2020-01-02"])])
def test_a_missing_time_is_named(times):
    frame = pd.DataFrame({"u": [1, 2, 3], "i": [1, 1, 1], "t": times})
    with pytest.raises(ValueError, match=r"column 't': row 1 \(from 0\)"):
        Interactions.from_frame(frame, "u", "i", time="t")
