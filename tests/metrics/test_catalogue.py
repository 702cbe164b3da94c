"""Catalogue metrics: hand-worked, against plain loops, and in every corner."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_lib.metrics import catalogue_metrics


def problem(seed, n_lists=40, n_users=25, n_items=30, width=6):
    rng = np.random.default_rng(seed)
    ids = np.argsort(rng.random((n_lists, n_items)) ** 3 * np.arange(1, n_items + 1), axis=1)[:, :width]
    ids[rng.random(ids.shape) < 0.2] = -1
    ids[0] = np.arange(width)  # never everything empty
    train = sparse.csr_array((rng.random((n_users, n_items)) < 0.1).astype(np.float32))
    return ids, train


def loop_metrics(ids, train):
    dense = train.toarray() != 0
    n_users, n_items = dense.shape
    recommended = [int(i) for i in ids.ravel() if i >= 0]
    frequency = [recommended.count(item) for item in range(n_items)]
    bits = [-math.log2(max(1, dense[:, item].sum()) / n_users) for item in recommended]
    # Gini's own definition: mean absolute difference over twice the mean.
    spread = sum(abs(a - b) for a in frequency for b in frequency) / n_items**2
    return {
        "coverage": len(set(recommended)) / n_items,
        "novelty": sum(bits) / len(bits),
        "gini": spread / (2 * sum(frequency) / n_items),
    }


def test_hand_worked_example():
    # 4 users; popularity 4, 2, 1, 0. Item 0 recommended three times, items 1 and 3 once, item 2 never.
    train = sparse.csr_array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    metrics = catalogue_metrics(np.array([[0, 1], [0, 3], [0, -1]]), train)
    assert metrics["coverage"] == 3 / 4
    assert metrics["novelty"] == pytest.approx((3 * 0 + 1 + 2) / 5, abs=1e-12)  # no user: as one
    # f = 0, 1, 1, 3 ascending: (-3·0 - 1·1 + 1·1 + 3·3) / (4 · 5)
    assert metrics["gini"] == pytest.approx(9 / 20, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_equal_to_the_loop_and_blind_to_the_order_of_users(seed):
    ids, train = problem(seed)
    metrics = catalogue_metrics(ids, train)
    for name, expected in loop_metrics(ids, train).items():
        assert metrics[name] == pytest.approx(expected, abs=1e-12)
        assert expected > 0
    order = np.random.default_rng(seed).permutation(len(ids))
    assert catalogue_metrics(ids[order], train) == metrics


def test_even_and_one_sided_recommendations():
    train = sparse.csr_array(np.ones((8, 8)))
    assert catalogue_metrics(np.arange(8).reshape(4, 2), train) == {"coverage": 1, "novelty": 0, "gini": 0}
    assert catalogue_metrics(np.full((5, 1), 3), train)["gini"] == pytest.approx(1 - 1 / 8, abs=1e-12)


def test_values_duplicates_and_zeros_in_train_do_not_matter():
    ids, train = problem(1)
    data = np.concatenate([5 * train.data, train.data])
    rows, columns = train.nonzero()
    indptr = 2 * train.indptr
    order = np.argsort(np.concatenate([rows, rows]), kind="stable")
    messy = sparse.csr_array((data[order], np.concatenate([columns, columns])[order], indptr), train.shape)
    messy.data[0] = 0  # the same entry is stored once more
    assert catalogue_metrics(ids, messy) == catalogue_metrics(ids, train)


def test_without_users_nothing_is_known_about_popularity():
    with pytest.raises(ValueError, match="train has no users"):
        catalogue_metrics(np.array([[0, 1]]), sparse.csr_array((0, 3)))


def test_tensors_and_interactions_objects():
    ids, train = problem(2)

    class Holder:
        matrix = train

    assert catalogue_metrics(torch.from_numpy(ids), Holder()) == catalogue_metrics(ids, train)


TRAIN = sparse.csr_array(np.eye(3, 5))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([[0, 5]]), r"ids\[0, 1\] is 5, outside 0 … 4"),
        (np.array([[0, 1], [-3, 1]]), r"ids\[1, 0\] is -3"),
        (np.array([[0, 1], [1, 1]]), r"ids\[1\] holds item 1 more than once"),
        (np.array([[-1, -1]]), "ids holds no item"),
        (np.zeros((0, 3), int), "ids holds no item"),
        (np.array([[0.0]]), "ids must be integers"),
        (np.array([0]), "ids must have two dimensions"),
    ],
)
def test_bad_input_says_what_and_where(ids, message):
    with pytest.raises(ValueError, match=message):
        catalogue_metrics(ids, TRAIN)


def test_dense_train_is_refused():
    with pytest.raises(TypeError, match="got ndarray"):
        catalogue_metrics(np.array([[0]]), TRAIN.toarray())
