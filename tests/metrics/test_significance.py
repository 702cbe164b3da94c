"""Intervals and tests against known distributions, exact enumeration and hand-worked numbers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsys_lib.metrics import (
    bootstrap_difference,
    bootstrap_interval,
    holm,
    paired_permutation_test,
    significance,
)


@pytest.mark.parametrize("kind", ["continuous", "binary"])  # the two ways of drawing
def test_bootstrap_agrees_with_the_normal_interval(kind):
    values = np.random.default_rng(1).gamma(2, size=2000)
    if kind == "binary":
        values = (values > 2).astype(float)
    interval = bootstrap_interval(values, n_resamples=20_000)
    half_width = stats.norm.ppf(0.975) * values.std() / np.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.n == 2000
    # 3 % of the half width: twice the Monte Carlo deviation of a quantile at 20,000 resamples
    assert abs(interval.low - (values.mean() - half_width)) < 0.03 * half_width
    assert abs(interval.high - (values.mean() + half_width)) < 0.03 * half_width


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says(confidence):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(600):
        interval = bootstrap_interval(
            rng.normal(3, size=150), n_resamples=500, confidence=confidence, seed=rng
        )
        covered += interval.low <= 3 <= interval.high
    # Three standard deviations of a count of 600, and one point for the bootstrap's slight optimism.
    slack = 3 * np.sqrt(confidence * (1 - confidence) / 600) + 0.01
    assert abs(covered / 600 - confidence) < slack


def test_bootstrap_leaves_nan_out_and_takes_tensors():
    values = np.random.default_rng(3).random(100)
    with_gaps = np.insert(values, [0, 50, 100], np.nan)
    assert bootstrap_interval(with_gaps) == bootstrap_interval(values)
    assert bootstrap_interval(torch.from_numpy(with_gaps)) == bootstrap_interval(values)


def test_bootstrap_is_a_function_of_its_seed_and_not_of_global_state():
    values = np.random.default_rng(4).random(80)
    np.random.seed(1)  # noqa: NPY002 - the point is that it does not matter
    first = bootstrap_interval(values, seed=5)
    np.random.seed(2)  # noqa: NPY002
    assert bootstrap_interval(values, seed=5) == first
    assert bootstrap_interval(values, seed=np.random.default_rng(5)) == first
    assert bootstrap_interval(values, seed=6) != first


def test_small_blocks_give_every_resample(monkeypatch):
    monkeypatch.setattr(significance, "BLOCK_DRAWS", 250)
    assert list(significance.blocks(7, 100)) == [2, 2, 2, 1]
    assert list(significance.blocks(2, 1000)) == [1, 1]
    values = np.random.default_rng(5).normal(size=100)
    interval = bootstrap_interval(values, n_resamples=4001)
    half_width = 1.96 * values.std() / 10
    assert abs(interval.high - interval.low - 2 * half_width) < 0.1 * half_width


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(6)
    easy = rng.random(500)
    a, b = easy + rng.normal(0.02, 0.05, 500), easy + rng.normal(0, 0.05, 500)
    difference = bootstrap_difference(a, b)
    assert difference.value == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    half_width = 1.96 * (a - b).std() / np.sqrt(500)
    assert difference.high - difference.low == pytest.approx(2 * half_width, rel=0.1)
    assert difference.low > 0
    alone_a, alone_b = bootstrap_interval(a), bootstrap_interval(b)
    assert alone_a.low < alone_b.high  # which two separate intervals would not have shown


def exact_p_value(differences):
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=len(differences))]
    return np.mean([total >= abs(sum(differences)) - 1e-12 for total in sums])


@pytest.mark.parametrize("n", [3, 8, 12])
@pytest.mark.parametrize("shift", [0, 0.3, 0.8])
def test_permutation_test_against_exact_enumeration(n, shift):
    rng = np.random.default_rng(n)
    b = rng.random(n)
    a = b + np.round(rng.normal(shift, 0.5, n), 1)  # rounded: ties between sums, and zeros, occur
    expected = exact_p_value(a - b)
    measured = paired_permutation_test(a, b, n_permutations=40_000)
    assert abs(measured - expected) < 4 * np.sqrt(expected * (1 - expected) / 40_000) + 1 / 40_000


def test_permutation_test_hand_worked():
    # Four users, always better by the same: 2 of 16 sign choices are as far from zero, p = 1/8.
    measured = paired_permutation_test([2.0, 3, 4, 5], [1.0, 2, 3, 4], n_permutations=50_000)
    assert abs(measured - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 50_000)


def test_permutation_test_is_symmetric_never_zero_and_one_for_equals():
    rng = np.random.default_rng(8)
    a = rng.random(100)
    assert paired_permutation_test(a + 1, a, n_permutations=99) == 0.01
    assert paired_permutation_test(a, a + 1, n_permutations=99) == 0.01
    assert paired_permutation_test(a, a) == 1
    gaps = np.where(np.arange(100) % 3 == 0, np.nan, a)
    assert paired_permutation_test(gaps, gaps + 1, n_permutations=99) == 0.01


def test_permutation_p_values_are_uniform_when_nothing_differs():
    rng = np.random.default_rng(9)
    p_values = [
        paired_permutation_test(rng.random(40), rng.random(40), n_permutations=499, seed=rng)
        for _ in range(400)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_permutation_blocks_add_up(monkeypatch):
    rng = np.random.default_rng(10)
    a, b = rng.random(64), rng.random(64)
    whole = paired_permutation_test(a, b, n_permutations=1001)
    monkeypatch.setattr(significance, "BLOCK_DRAWS", 640)
    assert paired_permutation_test(a, b, n_permutations=1001) == whole


def test_holm_hand_worked():
    # Holm (1979) for m = 4: factors 4, 3, 2, 1 in ascending order, then made monotone.
    adjusted = holm([0.04, 0.01, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.06, 0.03, 0.06, 0.02], rtol=0, atol=1e-12)
    np.testing.assert_allclose(holm([0.5, 0.9, 0.4]), [1, 1, 1])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.data())
def test_holm_is_between_raw_and_bonferroni_monotone_and_blind_to_order(p_values, data):
    raw = np.array(p_values)
    adjusted = holm(raw)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(raw * len(raw), 1)).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    order = np.array(data.draw(st.permutations(range(len(raw)))))
    np.testing.assert_array_equal(holm(raw[order]), adjusted[order])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([[0.1]]), r"values must have one dimension, got shape \(1, 1\)"),
        (lambda: bootstrap_interval([]), "values holds no number"),
        (lambda: bootstrap_interval([np.nan]), "values holds no number"),
        (lambda: bootstrap_interval([1, np.inf]), r"values\[1\] is inf"),
        (lambda: bootstrap_interval([1.0], n_resamples=0), "n_resamples must be at least 1"),
        (lambda: bootstrap_interval([1.0], confidence=95), "confidence must be between 0 and 1, got 95"),
        (lambda: bootstrap_difference([1.0, 2.0], [1.0]), "a has 2 values but b has 1"),
        (lambda: bootstrap_difference([1.0, np.nan], [1.0, 1.0]), r"only one of a\[1\] and b\[1\] is NaN"),
        (lambda: paired_permutation_test([1.0], [1.0], n_permutations=0), "n_permutations must be"),
        (lambda: paired_permutation_test([np.nan], [np.nan]), "a - b holds no number"),
        (lambda: holm([0.1, 1.2]), r"p_values\[1\] is 1.2"),
        (lambda: holm([np.nan]), r"p_values\[0\] is nan"),
        (lambda: holm([[0.1]]), "p_values must have one dimension"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
