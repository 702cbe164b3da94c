"""Classification metrics against scikit-learn, hand-worked numbers, loops, and in every corner."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import calibration
from sklearn import metrics as sklearn_metrics

from recsys_lib.metrics import (
    bootstrap_classification,
    calibration_curve,
    classification,
    classification_metrics,
    lift,
    resample_weights,
    significance,
)

ORACLES = {
    "roc_auc": sklearn_metrics.roc_auc_score,
    "average_precision": sklearn_metrics.average_precision_score,
    "brier": sklearn_metrics.brier_score_loss,
    "log_loss": sklearn_metrics.log_loss,
}


def predictions(seed, n=500, decimals=None):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, n)
    y = (rng.random(n) < p).astype(int)
    return y, p if decimals is None else p.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1])  # 1: many ties, and certain predictions that are wrong
def test_equal_to_scikit_learn(decimals):
    y, p = predictions(0, decimals=decimals)
    metrics = classification_metrics(y, p)
    for name, oracle in ORACLES.items():
        assert abs(metrics[name] - oracle(y, p)) < 1e-9


def test_hand_worked_example():
    metrics = classification_metrics([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.8], n_bins=2)
    assert metrics["roc_auc"] == pytest.approx(3 / 4, abs=1e-12)  # 3 of 4 pairs in order
    assert metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)
    assert metrics["brier"] == pytest.approx((0.04 + 0.36 + 0.36 + 0.04) / 4, abs=1e-12)
    assert metrics["log_loss"] == pytest.approx(-np.log(0.8 * 0.4 * 0.4 * 0.8) / 4, abs=1e-12)
    # Bins {.2, .4} and {.6, .8}: predicted .3 and .7, observed .5 and .5.
    assert metrics["expected_calibration_error"] == pytest.approx(0.2, abs=1e-12)


def test_calibration_curve_equals_scikit_learn_and_counts_every_row():
    y, p = predictions(1, n=1003)
    curve = calibration_curve(y, p, n_bins=7)
    observed, predicted = calibration.calibration_curve(y, p, n_bins=7, strategy="quantile")
    np.testing.assert_allclose(curve["observed"], observed, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve["predicted"], predicted, rtol=0, atol=1e-12)
    assert curve["count"].sum() == 1003
    assert set(curve["count"]) == {143, 144}
    error = np.sum(curve["count"] * abs(observed - predicted)) / 1003
    metrics = classification_metrics(y, p, n_bins=7)
    assert metrics["expected_calibration_error"] == pytest.approx(error, abs=1e-12)
    assert 0 < error < 0.05


def test_calibration_keeps_equal_predictions_together():
    p = np.repeat([0.1, 0.9], [70, 30])
    y = np.concatenate([np.ones(7), np.zeros(63), np.ones(27), np.zeros(3)])
    curve = calibration_curve(y, p)
    np.testing.assert_array_equal(curve["count"], [70, 30])
    np.testing.assert_allclose(curve["observed"], [0.1, 0.9], rtol=0, atol=1e-12)
    assert classification_metrics(y, p)["expected_calibration_error"] < 1e-12
    assert classification_metrics(1 - y, p)["expected_calibration_error"] == pytest.approx(0.8, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.floats(0.01, 1))
def test_bounds_and_order_of_rows(seed, n, fraction):
    y, p = predictions(seed, n, decimals=1)
    metrics, top = classification_metrics(y, p), lift(y, p, fraction=fraction)
    for name in ("roc_auc", "average_precision", "brier", "expected_calibration_error"):
        assert np.isnan(metrics[name]) or 0 <= metrics[name] <= 1
    assert np.isnan(top) or 0 <= top <= 1 / fraction + 1e-9
    order = np.random.default_rng(seed).permutation(n)
    shuffled = classification_metrics(y[order], p[order])
    for name, value in metrics.items():
        assert shuffled[name] == pytest.approx(value, abs=1e-12, nan_ok=True)
    assert lift(y[order], p[order], fraction=fraction) == pytest.approx(top, abs=1e-12, nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_one_class_leaves_ranking_metrics_undefined_and_the_rest_defined():
    for label in (0, 1):
        metrics = classification_metrics(np.full(4, label), [0.25] * 4)
        assert np.isnan([metrics["roc_auc"], metrics["average_precision"]]).all()
        assert metrics["brier"] == pytest.approx((label - 0.25) ** 2, abs=1e-12)
        assert metrics["log_loss"] == pytest.approx(-np.log(0.25 if label else 0.75), abs=1e-12)
        intervals = bootstrap_classification(np.full(4, label), [0.25] * 4, n_resamples=10)
        assert np.isnan(intervals["roc_auc"][:3]).all()
        assert intervals["brier"].high == pytest.approx((label - 0.25) ** 2, abs=1e-12)
    assert np.isnan(lift([0, 0], [0.1, 0.2]))


def test_lift_hand_worked_and_ties_shared():
    y = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    p = np.linspace(0.9, 0.1, 10)
    assert lift(y, p, fraction=0.2) == pytest.approx((2 / 2) / 0.3, abs=1e-12)
    assert lift(y, p, fraction=0.4) == pytest.approx((3 / 4) / 0.3, abs=1e-12)
    assert lift(y, p, fraction=1) == pytest.approx(1, abs=1e-12)
    # One clear winner, then three tied rows (one positive) for two places: mean over all tie breaks.
    y, p = np.array([1, 1, 0, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.1, 0.1])
    orders = [np.mean([1, a, b]) / (2 / 6) for a, b in itertools.permutations([1, 0, 0], 2)]
    assert lift(y, p, fraction=0.5) == pytest.approx(np.mean(orders), abs=1e-12)


def test_lift_takes_the_share_asked_for_despite_rounding():
    assert 0.07 * 100 > 7
    y = np.zeros(100)
    y[:7] = 1
    assert lift(y, np.linspace(1, 0, 100), fraction=0.07) == pytest.approx(100 / 7, abs=1e-9)


def test_a_weighted_lift_takes_the_exact_share_of_the_weight():
    y, p = np.array([1.0, 0, 1, 0, 0, 0, 0]), np.linspace(1, 0, 7)
    found = classification.weighted_metrics(y, p, np.ones((1, 7)), 0.3)["lift"]
    assert found == pytest.approx((1 + 0.1) / (0.3 * 2))  # of 2.1 rows the last is a tenth of the third


def test_resamples_with_one_class_are_left_out():
    y, p = np.array([1.0, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3])
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 1], [4, 0, 0, 0]])
    resampled = classification.weighted_metrics(y, p, weights)
    for name in ("roc_auc", "average_precision"):
        np.testing.assert_array_equal(resampled[name], [1, np.nan, np.nan])
        assert bootstrap_classification(y, p, n_resamples=200)[name] == (1, 1, 1, 4)


@pytest.mark.parametrize("decimals", [None, 1])
def test_weighted_metrics_equal_scikit_learn_on_the_resampled_rows(decimals):
    y, p = predictions(2, n=60, decimals=decimals)
    rng = np.random.default_rng(0)
    weights = resample_weights(60, 25, rng)
    np.testing.assert_array_equal(weights.sum(axis=1), 60)
    assert len(np.unique(weights, axis=0)) == 25
    resampled = classification.weighted_metrics(y.astype(float), p, weights)
    for row, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(60), counts)
        for name, oracle in ORACLES.items():
            assert abs(resampled[name][row] - oracle(y[rows], p[rows])) < 1e-9, name


@pytest.mark.parametrize("n_draws", [1 << 22, 4 * 2000 * 7])
def test_bootstrap_intervals_match_known_standard_errors(monkeypatch, n_draws):
    monkeypatch.setattr(significance, "BLOCK_DRAWS", n_draws)
    y, p = predictions(3, n=2000)
    intervals = bootstrap_classification(y, p, n_resamples=2001)
    loss = (y - p) ** 2
    assert intervals["brier"].value == pytest.approx(loss.mean(), abs=1e-12)
    width = 2 * 1.96 * loss.std() / np.sqrt(2000)
    assert intervals["brier"].high - intervals["brier"].low == pytest.approx(width, rel=0.08)
    # DeLong's standard error of the AUC, from the placement of each row among the other class.
    positive, negative = p[y == 1], p[y == 0]
    above = (positive[:, None] > negative).astype(float)
    error = np.sqrt(above.mean(1).var(ddof=1) / len(positive) + above.mean(0).var(ddof=1) / len(negative))
    auc = intervals["roc_auc"]
    assert auc.value == pytest.approx(above.mean(), abs=1e-12)
    assert auc.high - auc.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    for interval in intervals.values():
        assert interval.low < interval.value < interval.high
        assert interval.n == 2000


def test_bootstrap_difference_to_a_baseline_is_paired():
    y, p = predictions(4, n=1500)
    noisy = np.clip(p + np.random.default_rng(0).normal(0, 0.05, 1500), 0, 1)
    difference = bootstrap_classification(y, p, baseline=noisy, n_resamples=500)
    alone = bootstrap_classification(y, p, n_resamples=500)
    for name in ORACLES:
        expected = ORACLES[name](y, p) - ORACLES[name](y, noisy)
        assert difference[name].value == pytest.approx(expected, abs=1e-9)
        assert difference[name].high - difference[name].low > 0
    assert difference["roc_auc"].high - difference["roc_auc"].low < (
        0.7 * (alone["roc_auc"].high - alone["roc_auc"].low)
    )
    same = bootstrap_classification(y, p, baseline=p, n_resamples=50)
    assert same["roc_auc"][:3] == (0, 0, 0)


def test_bootstrap_is_a_function_of_its_seed():
    y, p = predictions(5)
    first = bootstrap_classification(y, p, n_resamples=50, seed=3)
    assert bootstrap_classification(y, p, n_resamples=50, seed=np.random.default_rng(3)) == first
    assert bootstrap_classification(y, p, n_resamples=50, seed=4) != first


def test_tensors_and_booleans():
    y, p = predictions(6)
    expected = classification_metrics(y, p)
    assert classification_metrics(torch.from_numpy(y), torch.from_numpy(p)) == expected
    assert classification_metrics(y.astype(bool), p.tolist()) == expected


CALLS = [
    classification_metrics,
    calibration_curve,
    lift,
    bootstrap_classification,
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 2], [0.1, 0.2], r"y\[1\] is 2.0, neither 0 nor 1"),
        ([0, np.nan], [0.1, 0.2], r"y\[1\] is nan"),
        ([0, 1], [0.1, 1.2], r"p\[1\] is 1.2, not a probability"),
        ([0, 1], [-0.1, 1], r"p\[0\] is -0.1"),
        ([0, 1], [np.nan, 1], r"p\[0\] is nan"),
        ([0, 1], [0.5], r"one length, got shapes \(2,\) and \(1,\)"),
        ([[0, 1]], [[0.5, 0.5]], "non-empty vectors"),
        ([], [], "non-empty vectors"),
    ],
)
def test_bad_input_says_what_and_where(call, y, p, message):
    with pytest.raises(ValueError, match=message):
        call(y, p)


def test_bad_parameters():
    with pytest.raises(ValueError, match="n_bins must be at least 1, got 0"):
        calibration_curve([0, 1], [0.1, 0.9], n_bins=0)
    for fraction in (0, 1.1, np.nan):
        with pytest.raises(ValueError, match="fraction must be above 0"):
            lift([0, 1], [0.1, 0.9], fraction=fraction)
    with pytest.raises(ValueError, match="n_resamples must be"):
        bootstrap_classification([0, 1], [0.1, 0.9], n_resamples=0)
    with pytest.raises(ValueError, match=r"p\[0\] is 3.0"):
        bootstrap_classification([0, 1], [0.1, 0.9], baseline=[3, 0])
