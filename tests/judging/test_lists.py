"""Ranking tables, looking items up, floors."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_lib.judging.lists import FLOORS, check_floor, contains, rank


def test_rank_leaves_out_before_it_selects_and_changes_nothing():
    scores = np.array([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1]], np.float32)
    kept = scores.copy()
    exclude = csr_array([[0, 1, 0, 0], [1, 0, 0, 0]], dtype=np.float32)
    assert rank(scores, exclude, k=2).tolist() == [[3, 2], [1, 2]]
    np.testing.assert_array_equal(scores, kept)
    assert rank(torch.as_tensor(scores), k=1).tolist() == [[1], [0]]
    assert rank(np.array([[1, 1 + 1e-9]]), k=1).tolist() == [[0]]  # equal in 32 bits


def test_contains_by_a_loop():
    rng = np.random.default_rng(0)
    matrix = csr_array((rng.random((6, 9)) < 0.4).astype(np.float32))
    users, ids = np.array([5, 0, 3]), rng.integers(9, size=(3, 4))
    expected = [[matrix[user, item] > 0 for item in line] for user, line in zip(users, ids, strict=True)]
    assert contains(matrix, users, ids).tolist() == expected
    everything = csr_array(np.ones((6, 9), np.float32))
    assert contains(everything, users, np.array([[3, -1]] * 3)).tolist() == [[True, False]] * 3


def test_a_model_below_its_floor_or_popularity_is_refused():
    task, model = "movielens_100k", "ALS"
    floor = FLOORS[task][model]
    check_floor(task, model, floor + 0.001, 0.25)
    check_floor(task, model, 0.99, 0.25)  # a better model is no error
    check_floor(task, "EASE", 0.01, 0.25)  # has no floor
    for value, popular in ((floor - 0.001, 0.25), (floor + 0.001, floor + 0.01)):
        with pytest.raises(AssertionError, match="movielens_100k: ALS has"):
            check_floor(task, model, value, popular)
