"""What a value means, at every door, and against a slow loop over single units."""

import datetime as dt
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_array, csr_array

from recsys_lib.data import Interactions, Parts, Split, discovery, to_matrices

DAYS = pd.date_range("2023-01-01", periods=9)


def built(rows, *, timed=True, **ids):
    """Interactions from rows of user, item, value, day; the warnings are looked at elsewhere."""
    frame = pd.DataFrame(rows, columns=["user", "item", "value", "day"])
    frame["time"] = DAYS[frame["day"].to_numpy(int)] if len(frame) else pd.to_datetime([])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Interactions.from_frame(frame, "user", "item", "value", "time" if timed else None, **ids)


def as_dict(made):
    return made.to_frame().set_index(["user", "item"])["value"].to_dict()


def left_by_loop(rows, timed):
    """Take back unit by unit: for each unit given back, the youngest unit of the pair that is not younger."""
    units = {}
    order = sorted(rows, key=lambda row: (row[3] if timed else 0, row[2] < 0))
    for user, item, value, _ in order:
        held = units.setdefault((user, item), [])
        for _ in range(abs(value)):
            if value > 0:
                held.append(1)
            elif held:
                held.pop()
    return {pair: len(held) for pair, held in units.items() if held}


events = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(-4, 4), st.integers(0, 8)),
    max_size=25,
)


@given(events, st.booleans())
@settings(max_examples=100, deadline=None)
def test_returns_take_back_what_came_before_as_a_loop_over_units_says(rows, timed):
    made = built(rows, timed=timed)
    expected = left_by_loop(rows, timed)
    assert as_dict(made) == expected
    assert made.users.tolist() == sorted({user for user, _ in expected})
    assert made.items.tolist() == sorted({item for _, item in expected})
    if timed:
        assert (made.events["value"] > 0).all()
        assert made.events["time"].is_monotonic_increasing


@given(events)
@settings(max_examples=30, deadline=None)
def test_returns_of_a_pair_do_not_look_at_other_pairs_or_at_the_order_of_rows(rows):
    turned = as_dict(built(rows[::-1]))
    assert as_dict(built(rows)) == turned
    alone = [as_dict(built([row for row in rows if row[:2] == pair])) for pair in {row[:2] for row in rows}]
    assert turned == {pair: value for part in alone for pair, value in part.items()}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0.01, 99), st.integers(0, 8)),
        max_size=9,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_is_given_back_whole_leaves_nothing(rows):
    returned = [(user, item, -value, 8) for user, item, value, _ in rows]
    assert as_dict(built(rows + returned[::-1])) == {}
    pairs = {}
    for user, item, value, _ in rows:
        pairs[user, item] = pairs.get((user, item), 0.0) + value
    at_once = [(user, item, -value, 8) for (user, item), value in pairs.items()]
    assert as_dict(built(rows + at_once)) == as_dict(built(rows + at_once, timed=False)) == {}


def test_the_last_purchase_is_taken_back_first():
    made = built([("a", "x", 3, 0), ("a", "x", 2, 4), ("a", "x", -1, 6), ("b", "x", 1, 0)])
    assert made.events["value"].tolist() == [3, 1, 1]
    assert made.events["time"].tolist() == [DAYS[0], DAYS[0], DAYS[4]]
    made = built([("a", "x", 3, 0), ("a", "x", 2, 4), ("a", "x", -4, 6)])
    assert made.events["value"].tolist() == [1]
    assert made.events["time"].tolist() == [DAYS[0]]


def test_a_return_takes_back_nothing_that_comes_later():
    assert as_dict(built([("a", "x", -5, 2), ("a", "x", 1, 3)])) == {("a", "x"): 1}
    assert as_dict(built([("a", "x", -1, 3), ("a", "x", 1, 3)])) == {}  # of one day: bought, then returned
    assert as_dict(built([("a", "x", -5, 2), ("a", "x", 1, 3)], timed=False)) == {}


def test_one_warning_counts_what_became_of_rows():
    rows = [("a", "x", 0, 0), ("a", "y", 2, 1), ("a", "y", -1, 2), ("b", "x", -1, 2), ("b", "y", 1, 1)]
    frame = pd.DataFrame(rows, columns=["user", "item", "qty", "day"])
    with pytest.warns(UserWarning, match=r"^column 'qty': ") as caught:
        Interactions.from_frame(frame, "user", "item", "qty")
    assert len(caught) == 1
    assert "no interactions and were left out: 1; returns" in str(caught[0].message)
    assert "before: 2, of which 1 found nothing" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Interactions.from_frame(frame[frame["qty"] > 0], "user", "item", "qty")


def test_rows_of_other_ids_are_neither_netted_nor_counted():
    users, items = pd.Index(["a"]), pd.Index(["x", "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = pd.DataFrame([("a", "x", 1), ("b", "x", -1), ("a", "z", 0)], columns=["u", "i", "v"])
        made = Interactions.from_frame(frame, "u", "i", "v", users=users, items=items)
    np.testing.assert_array_equal(made.matrix.toarray(), [[1, 0]])


def test_given_ids_stay_even_if_nothing_is_left_of_them():
    users, items = pd.Index(["a", "b"]), pd.Index(["x"])
    made = built([("a", "x", 1, 0), ("a", "x", -1, 1), ("b", "x", 0, 1)], users=users, items=items)
    assert made.matrix.shape == (2, 1)
    assert made.matrix.nnz == 0
    assert made.events.empty


def test_sums_are_exact_before_they_are_rounded():
    rows = [("a", "x", 2**24, 0)] + [("a", "x", 1, 0)] * 6
    assert as_dict(built(rows)) == {("a", "x"): 2**24 + 6}


def test_train_and_test_are_netted_apart():
    """A return of December gives nothing of November back, and is no hit."""
    columns = ["user", "item", "value", "day"]
    train = pd.DataFrame(
        [("a", "x", 1, 0), ("a", "y", 2, 0), ("a", "y", -1, 1), ("b", "y", 1, 1)], columns=columns
    )
    test = pd.DataFrame(
        [("a", "x", -1, 5), ("b", "x", 1, 5), ("b", "y", 1, 5), ("b", "y", -1, 6)], columns=columns
    )
    with pytest.warns(UserWarning, match="returns"):
        split = to_matrices(Parts(train, test), "user", "item", "value")
    np.testing.assert_array_equal(split.train.matrix.toarray(), [[1, 1], [0, 1]])
    np.testing.assert_array_equal(split.test.matrix.toarray(), [[0, 0], [1, 0]])
    np.testing.assert_array_equal(discovery(split).toarray(), [[0, 0], [1, 0]])


def test_rare_items_are_counted_after_returns():
    rows = [("a", "x", 1), ("b", "x", 1), ("b", "x", -1), ("a", "y", 1), ("b", "y", 1), ("c", "x", 0)]
    train = pd.DataFrame(rows, columns=["user", "item", "value"])
    split = to_matrices(Parts(train, train), "user", "item", "value", min_users_per_item=2)
    assert split.train.items.tolist() == ["y"]
    assert split.train.users.tolist() == ["a", "b"]


BAD_VALUES = {
    "missing": ([1, None], "row 1 .* expected a finite number"),
    "infinite": ([1, np.inf], "row 1 .* expected a finite number"),
    "a word": (["1", "many"], "row 1 .*'many': expected a finite number"),
    "too large": ([1, 1e39], "row 1 .*expected 0 or a number"),
    "too small": ([1e-60, 1], "row 0 .*expected 0 or a number"),
    "booleans": ([True, False], r"row 0 .*boolean values; \.astype\(int\) makes 0 and 1"),
    "times": (pd.to_datetime(["2023-01-01"] * 2), "row 0 .*datetime64 values"),
    "dates": ([dt.date(2023, 1, 1)] * 2, "row 0 .*date values"),
    "durations": (pd.to_timedelta([1, 2], unit="D"), "row 0 .*timedelta64 values"),
    "complex": ([1 + 0j, 2], "row 0 .*complex values"),
    "bytes": ([b"1", b"2"], "row 0 .*bytes values"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_other_values_are_refused_with_column_and_row(name):
    values, message = BAD_VALUES[name]
    frame = pd.DataFrame({"u": [1, 2], "i": [1, 2], "v": values})
    with pytest.raises(ValueError, match=f"column 'v': {message}"):
        Interactions.from_frame(frame, "u", "i", "v")


@pytest.mark.parametrize(
    "values",
    [["1", "2.5"], [Decimal("1"), Decimal("2.5")], pd.Categorical([1, 2.5]), pd.array([1, 2.5], "Float64")],
)
def test_numbers_of_other_types_are_numbers(values):
    frame = pd.DataFrame({"u": [1, 2], "i": [1, 2], "v": values})
    assert Interactions.from_frame(frame, "u", "i", "v").matrix.data.tolist() == [1, 2.5]


def test_a_sum_too_large_for_models_is_refused_by_its_ids():
    frame = pd.DataFrame({"u": ["a", "a", "b"], "i": ["x", "x", "y"], "v": [9e14, 9e14, 1]})
    with pytest.raises(ValueError, match=r"user 'a' and item 'x' have 1.8e\+15"):
        Interactions.from_frame(frame, "u", "i", "v")


@pytest.mark.parametrize("column", ["u", "i"])
@pytest.mark.parametrize("ids", [None, pd.Index(["1", "2"])])
def test_missing_ids_are_refused_where_ids_are_given_too(column, ids):
    frame = pd.DataFrame({"u": ["1", "2"], "i": ["1", "2"]})
    frame.loc[1, column] = None
    with pytest.raises(ValueError, match=rf"column '{column}': row 1 \(from 0\) is (nan|None): no id"):
        Interactions.from_frame(frame, "u", "i", users=ids, items=ids)


def test_ids_of_two_types_are_refused():
    frame = pd.DataFrame({"u": pd.Series([1, "1"], dtype=object), "i": [1, 2]})
    with pytest.raises(ValueError, match="column 'u' holds ids of several types"):
        Interactions.from_frame(frame, "u", "i")
    frame = pd.DataFrame({"u": ["1", "2"], "i": [1, 2]})
    with pytest.raises(ValueError, match="column 'u' holds string ids, but the ids to match are integer"):
        Interactions.from_frame(frame, "u", "i", users=pd.Index([1, 2]))


KINDS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]
cells = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from([0, 1, 2, 100])), max_size=14
)


@given(
    cells,
    st.sampled_from(KINDS),
    st.sampled_from(["int8", "uint8", "int64", "float64", "float32", "bool"]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_matrix_means_the_sum_of_what_it_stores(rows, kind, dtype, old):
    """Duplicates, explicit zeros, order, kind and type make no difference; the caller's matrix stays."""
    data = np.array([value for *_, value in rows], dtype)
    places = [np.array([row[axis] for row in rows], int) for axis in (0, 1)]
    expected = np.zeros((4, 5))
    np.add.at(expected, tuple(places), data.astype(float))
    matrix = coo_array((data, places), shape=(4, 5))
    if kind in ("lil", "dok", "dia", "bsr"):  # kinds that cannot hold a pair twice, or lose zeros
        matrix = csr_array(np.minimum(expected, 100).astype(dtype)).asformat(kind)
        expected = matrix.toarray().astype(float)
    elif kind != "coo":
        order = np.argsort(places[0 if kind == "csr" else 1], kind="stable")
        major, minor = places if kind == "csr" else places[::-1]
        n = 4 if kind == "csr" else 5
        indptr = np.concatenate([[0], np.cumsum(np.bincount(major, minlength=n))])
        make = scipy.sparse.csr_array if kind == "csr" else scipy.sparse.csc_array
        matrix = make((data[order], minor[order], indptr), shape=(4, 5))
    if old:
        matrix = getattr(scipy.sparse, f"{kind}_matrix")(matrix)
    before = matrix.copy()
    made = Interactions(matrix, pd.RangeIndex(4), pd.RangeIndex(5))
    np.testing.assert_array_equal(made.matrix.toarray(), expected)
    assert made.matrix.has_canonical_format
    assert made.matrix.dtype == np.float32
    assert made.matrix.nnz == (expected > 0).sum()
    assert matrix.nnz == before.nnz
    np.testing.assert_array_equal(matrix.toarray(), before.toarray())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e39])
def test_bad_values_of_a_matrix_are_refused_by_their_ids(kind, value):
    dense = np.array([[1.0, 0, 0], [0, 2, value]])
    with pytest.raises(ValueError, match="user 'b' and item 'z' have "):
        Interactions(csr_array(dense).asformat(kind), ["a", "b"], ["x", "y", "z"])


def test_what_is_no_matrix_of_numbers_is_refused():
    for matrix in (
        csr_array(np.array([[1j]])),
        csr_array(([1], [0], [0, 1]), shape=(1, 2)),
        coo_array(np.ones(1)),
    ):
        with pytest.raises(ValueError, match=r"matrix (of numbers|has shape)"):
            Interactions(matrix, pd.RangeIndex(1), pd.RangeIndex(1))
    with pytest.raises(ValueError, match="users has no id at position 1"):
        Interactions(csr_array((2, 1)), pd.Index(["a", None]), ["x"])


@pytest.mark.parametrize("kind", [csr_array, csc_array])
@pytest.mark.parametrize("index", [-1, 7])
def test_a_matrix_with_an_index_outside_is_refused(kind, index):
    matrix = kind((np.ones(3, np.float32), [0, 1, 1], [0, 2, 3]), shape=(2, 2))
    matrix.indices[1] = index
    with pytest.raises(ValueError, match=f"damaged: it has an index {index}, outside 0 … 1"):
        Interactions(matrix, ["a", "b"], ["x", "y"])


def test_a_matrix_whose_rows_do_not_follow_each_other_is_refused():
    matrix = csr_array((np.ones(3, np.float32), [0, 1, 1], [0, 2, 3]), shape=(2, 2))
    matrix.indptr[1] = 4
    with pytest.raises(ValueError, match="damaged: its indptr"):
        Interactions(matrix, ["a", "b"], ["x", "y"])


def test_what_rounding_leaves_of_a_sum_is_nothing():
    for values in ([0.1, 0.2, -0.3], [0.3, -0.1, -0.2]):
        matrix = coo_array((values, ([0, 0, 0], [0, 0, 0])), shape=(1, 1))
        assert Interactions(matrix, ["a"], ["x"]).matrix.nnz == 0


@pytest.mark.parametrize("value", [1e-12, 1e16, np.inf, np.nan, -1])
def test_a_matrix_with_a_value_that_no_model_can_use_is_refused(value):
    with pytest.raises(ValueError, match="user 'b' and item 'x' have"):
        Interactions(csr_array(np.array([[1.0], [value]])), ["a", "b"], ["x"])


def test_truth_among_numbers_is_no_value():
    frame = pd.DataFrame({"u": ["a", "b"], "i": ["x", "y"], "v": pd.Series([1, True], dtype=object)})
    with pytest.raises(ValueError, match=r"column 'v': row 1 \(from 0\) is True: .*truth value"):
        Interactions.from_frame(frame, "u", "i", "v")


def test_a_large_return_leaves_the_last_one():
    frame = pd.DataFrame(
        {"u": ["a", "a", "b"], "i": ["x", "x", "y"], "v": [2_000_000_000, -1_999_999_999, 1]}
    )
    with pytest.warns(UserWarning, match="returns"):
        assert Interactions.from_frame(frame, "u", "i", "v").matrix.data.tolist() == [1, 1]


@pytest.fixture
def timed():
    return built([("a", "x", 3, 0), ("a", "y", 2, 4), ("b", "x", 1, 6)])


CHANGES = {
    "a column is missing": ({"time": None}, "no column 'time'"),
    "positions are ids": ({"user": ["a", "a", "b"]}, "user must hold integer positions"),
    "a position is outside": ({"item": [0, 5, 0]}, r"'item': row 1 .* is 5: positions go from 0 to 1"),
    "a value is missing": ({"value": [1, np.nan, 1]}, "'value': row 1 .*finite number"),
    "a value is negative": ({"value": [3.0, 2, -1]}, r"'value': row 2 .*above 0"),
    "a value is 0": ({"value": [3.0, 0, 1]}, r"'value': row 1 .*above 0"),
    "a time is missing": ({"time": [DAYS[0], pd.NaT, DAYS[2]]}, "'time': row 1 "),
    "times are day numbers": ({"time": [1, 2, 3]}, "'time': row 0 .*numbers of days"),
    "values are of other data": (
        {"value": [3.0, 2, 2]},
        "do not belong together: their sums per user differ",
    ),
    "items are of other data": ({"item": [1, 0, 0]}, "their sums per item differ"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_events_that_are_given_are_checked(name, timed):
    changes, message = CHANGES[name]
    events = timed.events.assign(**changes)
    events = events.drop(columns=[column for column in changes if changes[column] is None])
    with pytest.raises(ValueError, match=message):
        Interactions(timed.matrix, timed.users, timed.items, events)


def test_events_are_put_in_order_and_form(timed):
    given_ones = timed.events.iloc[[2, 0, 1]].astype({"user": "int64", "value": "float64"})
    given_ones["time"] = given_ones["time"].dt.tz_localize("UTC").astype(str)
    made = Interactions(timed.matrix, timed.users, timed.items, given_ones)
    pd.testing.assert_frame_equal(made.events, timed.events, check_dtype=False)
    assert made.events["value"].dtype == np.float32
    assert given_ones["user"].tolist() == [1, 0, 0]  # the caller's stay


def test_a_split_means_the_same_by_ids_that_train_lacks():
    split = Split(built([("a", "x", 1, 0)]), built([("a", "x", -1, 0), ("a", "x", 2, 1)]))
    assert discovery(split).nnz == 0


def test_stored_zeros_stay_in_the_matrix_of_the_caller():
    matrix = csr_array((np.float32([1, 0, 2]), [0, 1, 0], [0, 2, 3]), shape=(2, 2))
    assert Interactions(matrix, ["a", "b"], ["x", "y"]).matrix.nnz == 2
    assert matrix.nnz == 3
