"""Ranking metrics against trec_eval, a plain loop, hand-worked lists, and in every corner."""

import math

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_lib.metrics import catalogue_metrics, ranking, ranking_metrics

NAMES = ["precision", "recall", "hit_rate", "ndcg", "map", "mrr"]


def random_lists(seed, n_users=300, n_items=60, width=20, most_relevant=30):
    """Lists padded at the end and relevant items; some users with nothing relevant."""
    rng = np.random.default_rng(seed)
    ids = np.argsort(rng.random((n_users, n_items)), axis=1)[:, :width]
    ids[np.arange(width) >= rng.integers(1, width + 1, n_users)[:, None]] = -1
    relevant = np.zeros((n_users, n_items))
    for user, count in enumerate(rng.integers(0, most_relevant + 1, n_users)):
        relevant[user, rng.choice(n_items, count, replace=False)] = rng.integers(1, 5, count)
    return ids, sparse.csr_array(relevant)


def loop_metrics(items, relevant, k):
    """One user, straight from the formulas."""
    hits = [rank for rank, item in enumerate(items[:k], start=1) if item in relevant]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
    return {
        "precision": len(hits) / k,
        "recall": len(hits) / len(relevant),
        "hit_rate": float(bool(hits)),
        "ndcg": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
        "map": sum(count / rank for count, rank in enumerate(hits, start=1)) / len(relevant),
        "mrr": 1 / hits[0] if hits else 0.0,
    }


def row_sets(relevant):
    dense = relevant.toarray()
    return [set(np.flatnonzero(row).tolist()) for row in dense]


@pytest.mark.parametrize("k", [1, 3, 10, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_trec_eval(seed, k):
    ids, relevant = random_lists(seed)
    ours = ranking_metrics(ids, relevant, k, per_user=True)
    names = {
        f"P_{k}": "precision",
        f"recall_{k}": "recall",
        f"success_{k}": "hit_rate",
        f"ndcg_cut_{k}": "ndcg",
        f"map_cut_{k}": "map",
        "recip_rank": "mrr",
    }
    judged = {str(u): {str(i): 1 for i in items} for u, items in enumerate(row_sets(relevant)) if items}
    # The reciprocal rank has no cutoff in trec_eval: give it lists of k.
    run = {
        str(u): {str(i): float(-rank) for rank, i in enumerate(row[:k]) if i >= 0}
        for u, row in enumerate(ids)
    }
    measures = {f"{name}.{k}" for name in ("P", "recall", "success", "ndcg_cut", "map_cut")} | {"recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    assert 200 < len(theirs) < len(ids)
    for user, values in theirs.items():
        for their_name, name in names.items():
            assert abs(values[their_name] - ours[name][int(user)]) < 1e-9, (user, name)
    for name in NAMES:
        assert np.flatnonzero(~np.isnan(ours[name])).tolist() == sorted(map(int, theirs))
        assert ours[name][~np.isnan(ours[name])].mean() > 0.01


@pytest.mark.parametrize("block", [1, 50, 1000, 1 << 20])
def test_equal_to_a_plain_loop_whatever_the_block_size(monkeypatch, block):
    monkeypatch.setattr(ranking, "BLOCK_ENTRIES", block)
    ids, relevant = random_lists(7)
    ids[5] = -1  # nothing recommended
    ids[6, :3] = [-1, ids[6, 0], -1]  # holes: items after them keep their rank
    expected = [
        loop_metrics(row, items, 10) for row, items in zip(ids, row_sets(relevant), strict=True) if items
    ]
    means = ranking_metrics(ids, relevant, 10)
    values = ranking_metrics(ids, relevant, 10, per_user=True)
    for name in NAMES:
        column = np.array([row[name] for row in expected])
        np.testing.assert_allclose(values[name][~np.isnan(values[name])], column, rtol=0, atol=1e-12)
        assert abs(means[name] - column.mean()) < 1e-12
        assert isinstance(means[name], float)


def test_hand_worked_example():
    # Three relevant items, found at ranks 2 and 4 of 4.
    relevant = sparse.csr_array(([1.0, 1.0, 1.0], ([0, 0, 0], [1, 3, 5])), shape=(1, 8))
    metrics = ranking_metrics(np.array([[0, 3, 2, 5]]), relevant, k=4)
    assert metrics["precision"] == 2 / 4
    assert metrics["recall"] == 2 / 3
    assert metrics["hit_rate"] == 1
    assert metrics["mrr"] == 1 / 2
    assert metrics["map"] == pytest.approx((1 / 2 + 2 / 4) / 3, abs=1e-12)
    gain, ideal = 1 / math.log2(3) + 1 / math.log2(5), 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics["ndcg"] == pytest.approx(gain / ideal, abs=1e-12)


def test_map_denominators():
    relevant = sparse.csr_array(np.ones((1, 6)))
    ids = np.array([[0, 1, 2]])
    assert ranking_metrics(ids, relevant, 3)["map"] == pytest.approx(3 / 6, abs=1e-12)
    assert ranking_metrics(ids, relevant, 3, map_denominator="cutoff")["map"] == 1
    with pytest.raises(ValueError, match="map_denominator must be"):
        ranking_metrics(ids, relevant, 3, map_denominator="all")


def test_precision_counts_empty_slots_as_misses():
    relevant = sparse.csr_array(np.array([[1, 0, 0, 0, 0]]))
    ids = np.array([[0, -1, -1, -1]])
    assert ranking_metrics(ids, relevant, 4)["precision"] == 1 / 4
    assert ranking_metrics(ids, relevant, 4)["ndcg"] == 1


def test_users_without_relevant_items_are_nan_and_left_out_of_means():
    relevant = sparse.csr_array(np.array([[1, 0], [0, 0], [0, 1]]))
    ids = np.array([[0], [0], [0]])
    values = ranking_metrics(ids, relevant, 1, per_user=True)
    for name in NAMES:
        np.testing.assert_array_equal(values[name], [1, np.nan, 0])
        assert ranking_metrics(ids, relevant, 1)[name] == 0.5


def awkward(relevant, n_zeros, rng):
    """The same relevant items with shuffled indices, each stored twice, and explicit zeros among them."""
    rows, columns = relevant.nonzero()
    zero_rows, zero_columns = np.nonzero(relevant.toarray() == 0)
    pick = rng.choice(len(zero_rows), n_zeros, replace=False)
    rows = np.concatenate([rows, rows, zero_rows[pick]])
    columns = np.concatenate([columns, columns, zero_columns[pick]])
    data = np.concatenate([np.ones(relevant.nnz), 2 * np.ones(relevant.nnz), np.zeros(n_zeros)])
    order = rng.permutation(len(rows))
    order = order[np.argsort(rows[order], kind="stable")]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=relevant.shape[0]))])
    return sparse.csr_array((data[order], columns[order], indptr), shape=relevant.shape)


@pytest.mark.parametrize("n_zeros", [0, 200])
def test_unsorted_duplicate_and_zero_entries_change_nothing_and_are_left_alone(n_zeros):
    ids, relevant = random_lists(3)
    messy = awkward(relevant, n_zeros, np.random.default_rng(0))
    before = [part.copy() for part in (messy.data, messy.indices, messy.indptr)]
    assert ranking_metrics(ids, messy) == ranking_metrics(ids, relevant)
    for part, kept in zip((messy.data, messy.indices, messy.indptr), before, strict=True):
        np.testing.assert_array_equal(part, kept)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "float32", "int8"])
def test_a_return_is_no_hit(kind):
    dense = np.array([[-1, 2, 0], [0, 1, -3]])
    relevant = (
        sparse.csr_array(dense).astype(kind) if kind[-1].isdigit() else sparse.csr_array(dense).asformat(kind)
    )
    values = ranking_metrics(np.array([[0, 1], [2, 0]]), relevant, k=2, per_user=True)
    assert values["precision"].tolist() == [0.5, 0]
    assert values["recall"].tolist() == [1, 0]


def test_what_is_stored_twice_adds_up():
    # Bought and returned is nothing; 100 and 100 would be −56 in one byte, and "true" added to "true" is 1.
    places = ([0, 0, 0, 0], [0, 0, 1, 1])
    relevant = sparse.coo_array((np.array([1, -1, 100, 100], np.int8), places), shape=(1, 3))
    assert ranking_metrics(np.array([[0, 1, 2]]), relevant, k=2)["precision"] == 0.5
    assert ranking_metrics(np.array([[0, 1, 2]]), relevant, k=1)["precision"] == 0


@pytest.mark.parametrize("measure", [ranking_metrics, catalogue_metrics])
def test_nan_is_neither_a_hit_nor_none(measure):
    relevant = sparse.csr_array(np.array([[1, 0, 0], [0, 1, np.nan]]))
    with pytest.raises(ValueError, match="user 1 and item 2 have NaN"):
        measure(np.zeros((2, 10), int) + np.r_[0, 1, [-1] * 8], relevant)


@pytest.mark.parametrize(
    "convert",
    [
        lambda ids: ids.astype(np.int32),
        lambda ids: np.asfortranarray(ids),
        lambda ids: np.repeat(ids, 2, axis=1)[:, ::2],
        lambda ids: ids.tolist(),
        torch.from_numpy,
    ],
)
def test_kinds_and_layouts_of_ids(convert):
    ids, relevant = random_lists(4)
    expected = ranking_metrics(ids, relevant)
    assert ranking_metrics(convert(ids), relevant) == expected
    assert ranking_metrics(convert(ids), sparse.csr_matrix(relevant)) == expected


def test_relevant_may_be_an_interactions_object():
    ids, relevant = random_lists(4)

    class Holder:
        matrix = relevant

    assert ranking_metrics(ids, Holder()) == ranking_metrics(ids, relevant)


def test_tensors_are_judged_on_the_host():
    ids, relevant = random_lists(4)
    arrays = ranking_metrics(ids, relevant, per_user=True)
    tensors = ranking_metrics(torch.from_numpy(ids), relevant, per_user=True)
    for name in NAMES:
        assert isinstance(arrays[name], np.ndarray)
        assert isinstance(tensors[name], np.ndarray)
        np.testing.assert_array_equal(tensors[name], arrays[name])


def test_item_ids_beyond_32_bits():
    big = 2**33
    relevant = sparse.csr_array((np.ones(2), ([0, 1], [big - 1, 5])), shape=(2, big))
    ids = np.array([[big - 1, 0, 1], [big - 1, 5, -1]])
    assert ranking_metrics(ids, relevant, 3)["mrr"] == 0.75


def test_no_users_and_no_items():
    none = ranking_metrics(np.zeros((0, 5), int), sparse.csr_array((0, 9)), 5, per_user=True)
    assert all(none[name].shape == (0,) for name in NAMES)
    empty = ranking_metrics(np.full((3, 5), -1), sparse.csr_array((3, 0)), 5, per_user=True)
    assert all(np.isnan(empty[name]).all() and len(empty[name]) == 3 for name in NAMES)


RELEVANT = sparse.csr_array(np.eye(3, 7))
GOOD = np.array([[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("ids", "relevant", "k", "message"),
    [
        (GOOD, RELEVANT, 0, "k must be an integer of at least 1, got 0"),
        (GOOD, RELEVANT, 1.0, "k must be an integer of at least 1, got 1.0"),
        (GOOD, RELEVANT, True, "k must be an integer"),
        (GOOD, RELEVANT, 3, "k is 3 but ids has 2 columns"),
        (GOOD.astype(float), RELEVANT, 2, "ids must be integers, got float64"),
        (torch.ones(3, 2), RELEVANT, 2, "ids must be integers, got float32"),
        (GOOD[0], RELEVANT, 2, "ids must have two dimensions"),
        (GOOD[:2], RELEVANT, 2, "ids has 2 rows but relevant has 3"),
        (np.array([[0, 1], [2, 7], [4, 5]]), RELEVANT, 2, r"ids\[1, 1\] is 7, outside 0 … 6"),
        (np.array([[0, 1], [2, 3], [-2, 5]]), RELEVANT, 2, r"ids\[2, 0\] is -2"),
        (np.array([[0, 1], [2, 3], [6, 6]]), RELEVANT, 2, r"ids\[2\] holds item 6 more than once"),
        (GOOD, sparse.csr_array((3, 7)), 2, "no user has a relevant item"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_bad_input_says_what_and_where(monkeypatch, block, ids, relevant, k, message):
    monkeypatch.setattr(
        ranking, "BLOCK_ENTRIES", block
    )  # row numbers count from the first user, not the block
    with pytest.raises(ValueError, match=message):
        ranking_metrics(ids, relevant, k)


def test_dense_relevant_is_refused():
    with pytest.raises(TypeError, match=r"scipy\.sparse CSR matrix, got ndarray"):
        ranking_metrics(GOOD, RELEVANT.toarray(), 2)


def test_columns_beyond_k_are_not_looked_at():
    ids = np.hstack([GOOD, [[0], [999], [-9]]])
    assert ranking_metrics(ids, RELEVANT, 2) == ranking_metrics(GOOD, RELEVANT, 2)


problems = st.tuples(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 40), st.integers(1, 15))


@settings(max_examples=60, deadline=None)
@given(problems, st.data())
def test_any_lists_equal_the_loop_and_stay_in_bounds(problem, data):
    seed, n_users, n_items, k = problem
    width = min(k, n_items)
    ids, relevant = random_lists(seed, n_users, n_items, width, most_relevant=n_items)
    values = ranking_metrics(ids, relevant, width, per_user=True)
    sets = row_sets(relevant)
    for user, items in enumerate(sets):
        expected = loop_metrics(ids[user], items, width) if items else dict.fromkeys(NAMES, math.nan)
        for name in NAMES:
            assert values[name][user] == pytest.approx(expected[name], abs=1e-12, nan_ok=True)
            assert not items or 0 <= values[name][user] <= 1
    order = np.array(data.draw(st.permutations(range(n_users))))
    shuffled = ranking_metrics(ids[order], relevant[order], width, per_user=True)
    for name in NAMES:
        np.testing.assert_array_equal(shuffled[name], values[name][order])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_a_perfect_list_scores_one(seed, k):
    _, relevant = random_lists(seed, 10, 40, 1, most_relevant=40)
    relevant = relevant[np.diff(relevant.indptr) > 0]
    if relevant.shape[0] == 0:
        return
    dense = relevant.toarray() > 0
    ids = np.argsort(~dense, axis=1, kind="stable")[:, :k]
    values = ranking_metrics(ids, relevant, k, per_user=True, map_denominator="cutoff")
    for name in ("ndcg", "hit_rate", "mrr"):
        np.testing.assert_array_equal(values[name], 1)
    np.testing.assert_allclose(values["map"], 1, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(values["precision"], np.minimum(dense.sum(axis=1), k) / k)
    np.testing.assert_array_equal(values["recall"], np.minimum(dense.sum(axis=1), k) / dense.sum(axis=1))
