"""Popularity bias, exposure and calibration against loops and cases whose answer is known."""

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_lib.metrics.fairness import calibrated_lists, exposure, miscalibration, popularity_bias

TRAIN = csr_array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 2.0]])  # 4, 2, 1 and 1 households


def test_popularity_bias_equals_what_a_loop_counts():
    found = popularity_bias(np.array([[0, 1], [2, 3], [3, -1]]), TRAIN)
    np.testing.assert_allclose(found["arp"], [(4 + 2) / 2 / 4, 1 / 4, 1 / 4])
    np.testing.assert_allclose(found["aplt"], [0.5, 1, 1])  # item 0 alone has half of the interactions
    np.testing.assert_allclose(popularity_bias(np.array([[0, 1]]), TRAIN, head=0.51)["aplt"], [0])


def test_exposure_weighs_places_by_their_logarithm():
    members = np.array([True, False, True, False])
    whole = 1 + 1 / np.log2(3) + 1 / 2
    shares = exposure(np.array([[0, 1, 3], [1, 2, 0], [2, -1, -1]]), members)
    np.testing.assert_allclose(shares, np.array([1, 1 / np.log2(3) + 1 / 2, 1]) / whole)
    both = exposure(np.array([[0, 1, 3]]), members) + exposure(np.array([[0, 1, 3]]), ~members)
    np.testing.assert_allclose(both, 1)


def test_miscalibration_is_a_divergence():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 20), rng.dirichlet(np.ones(5), 20)
    loop = [
        sum(a * np.log(a / (0.99 * b + 0.01 * a)) for a, b in zip(*pair, strict=True))
        for pair in zip(p, q, strict=True)
    ]
    np.testing.assert_allclose(miscalibration(p, q), loop)
    np.testing.assert_allclose(miscalibration(p, p), 0, atol=1e-12)
    assert np.isclose(miscalibration(np.array([1.0, 0.0]), np.array([0.0, 1.0])), np.log(100))


@pytest.mark.parametrize("strength", [0, 0.3, 0.9, 1])
def test_calibrated_lists_take_the_best_next_item(strength):
    rng = np.random.default_rng(1)
    ids = np.stack([rng.permutation(12)[:8] for _ in range(6)])
    scores, category = -np.sort(-rng.random((6, 8)), axis=1), rng.integers(3, size=12)
    target = rng.dirichlet(np.ones(3), 6)
    found = calibrated_lists(ids, scores, category, target, strength, 4)
    for row in range(6):
        mine = []
        for _ in range(4):

            def worth(place, row=row, mine=mine):
                shown = np.bincount(category[ids[row, [*mine, place]]], minlength=3) / (len(mine) + 1)
                apart = miscalibration(target[row], shown)
                return (1 - strength) * scores[row, place] - strength * apart

            mine.append(max((place for place in range(8) if place not in mine), key=worth))
        np.testing.assert_array_equal(found[row], ids[row, mine])
    if strength == 0:
        np.testing.assert_array_equal(found, ids[:, :4])


def test_full_strength_comes_nearer_to_the_target_than_the_old_order():
    ids = np.arange(10)[None]
    category, target = np.repeat([0, 1], 5), np.array([[0.5, 0.5]])
    scores = np.linspace(1, 0, 10)[None]
    found = calibrated_lists(ids, scores, category, target, 1.0, 4)
    assert (category[found] == 1).sum() == 2
    best = max(itertools.combinations(range(10), 4), key=lambda four: -abs(category[list(four)].mean() - 0.5))
    assert category[list(best)].mean() == 0.5


def calibrated(ids, strength, k):
    return calibrated_lists(np.array(ids), np.eye(1, 2), np.zeros(2, int), np.ones((1, 1)), strength, k)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: popularity_bias(np.array([[0]]), TRAIN, head=1), "head must be between"),
        (lambda: popularity_bias(np.array([[0], [-1]]), TRAIN), "list 1 is empty"),
        (lambda: popularity_bias(np.array([[4]]), TRAIN), "outside 0 … 3"),
        (lambda: popularity_bias(np.array([[0]]), csr_array((0, 4))), "train has no users"),
        (lambda: exposure(np.array([[7]]), np.ones(4)), "outside 0 … 3"),
        (lambda: calibrated([[0, 1]], 2, 1), "strength"),
        (lambda: calibrated([[0, 1]], 0.5, 3), "k = 3 need k candidates or more, none of them −1, got 2"),
        (lambda: calibrated([[0, 1]], 0.5, 0), "k = 0"),
        (lambda: calibrated([[0, -1]], 0.5, 1), "none of them −1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
