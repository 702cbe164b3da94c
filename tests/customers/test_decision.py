"""Profit, thresholds, budgets, and intervals over households: against short loops."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from recsys_lib.customers import (
    best_threshold,
    household_intervals,
    household_mean,
    household_weights,
    profit_curve,
    profits,
    within_budget,
)
from recsys_lib.metrics import bootstrap_classification, bootstrap_interval, lift

RNG = np.random.default_rng(1)
P = np.round(RNG.random(300) ** 2, 2)  # with ties
Y = (RNG.random(300) < P).astype(int)
HOUSEHOLDS = RNG.integers(0, 90, 300)


def test_the_curve_is_the_profit_at_every_threshold() -> None:
    curve = profit_curve(Y, P, value=6.0, cost=1.5)
    assert len(curve) == len(np.unique(P)) + 1
    for row in curve.itertuples():
        chosen = row.threshold <= P
        assert chosen.sum() == row.contacted
        by_loop = sum(6.0 * y - 1.5 for y, c in zip(Y, chosen, strict=True) if c)
        assert np.isclose(row.profit, by_loop)
        assert np.isclose(profits(Y, chosen, 6.0, 1.5).sum(), by_loop)
    assert curve["contacted"].iloc[[0, -1]].tolist() == [0, 300]
    best = best_threshold(Y, P, 6.0, 1.5)
    tried = [profits(Y, t <= P, 6.0, 1.5).sum() for t in np.linspace(0, 1, 1_001)]
    assert np.isclose(profits(Y, best <= P, 6.0, 1.5).sum(), max(tried))
    assert curve["profit"].max() > curve["profit"].iloc[-1]


def test_the_best_threshold_of_true_probabilities_is_the_break_even_point() -> None:
    p = RNG.random(200_000)
    y = RNG.random(200_000) < p
    assert abs(best_threshold(y, p, value=4.0, cost=1.0) - 0.25) < 0.02


def test_without_value_nobody_and_without_cost_everybody_who_may_convert() -> None:
    assert best_threshold(Y, P, value=0.0, cost=1.0) == np.inf
    assert profits(Y, best_threshold(Y, P, 1.0, 0.0) <= P, 1.0, 0.0).sum() == Y.sum()


def test_the_budget_buys_the_most_promising() -> None:
    chosen = within_budget(P, budget=10.0, cost=0.1)
    assert chosen.sum() == 100
    assert P[chosen].min() >= P[~chosen].max()
    assert within_budget(P, 0.3, 0.1).sum() == 3
    assert within_budget(P, 0.0, 0.1).sum() == 0
    assert within_budget(P, 1e9, 0.1).all()
    assert within_budget(np.array([0.5, 0.5, 0.5]), 2, 1).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: profits(Y, P > 0.5, 5.0, -1.0), "cost must be a number of dollars, 0 or more, got -1.0"),
        (lambda: profits(Y, P > 0.5, -5.0, 1.0), "value must be a number of dollars"),
        (lambda: profits(Y, P > 0.5, np.nan, 1.0), "value must be a number of dollars"),
        (lambda: profit_curve(Y, P, 5.0, -1.0), "cost must be a number of dollars"),
        (lambda: best_threshold(Y, P, 5.0, -1.0), "cost must be a number of dollars"),
        (lambda: within_budget(P, 10.0, 0.0), "cost must be above 0"),
        (lambda: within_budget(P, 10.0, -1.0), "cost must be a number of dollars"),
        (lambda: within_budget(P, -1.0, 1.0), "budget must be a number of dollars"),
        (lambda: profits(Y, P[:5] > 0.5, 5.0, 1.0), "one entry per household in both"),
        (lambda: profit_curve(Y, P[:5], 5.0, 1.0), "vectors of one length"),
        (lambda: household_intervals(Y, P, HOUSEHOLDS[:5]), r"300 rows but household_ids of shape \(5,\)"),
        (lambda: household_mean(P, HOUSEHOLDS[:5]), r"300 rows but household_ids of shape \(5,\)"),
        (lambda: profit_curve(Y, P * np.nan, 5.0, 1.0), "p finite"),
    ],
)
def test_bad_prices_and_shapes_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_rows_of_a_household_are_drawn_together() -> None:
    weights = household_weights(HOUSEHOLDS, 50, seed=2)
    assert weights.shape == (50, 300)
    ids = np.unique(HOUSEHOLDS)
    for household in ids:
        own = weights[:, household == HOUSEHOLDS]
        assert (own == own[:, :1]).all()
    first_rows = [int(np.argmax(household == HOUSEHOLDS)) for household in ids]
    assert (weights[:, first_rows].sum(axis=1) == len(ids)).all()
    assert not (weights[0] == weights[1]).all()
    assert (household_weights(HOUSEHOLDS, 50, seed=2) == weights).all()


def test_the_intervals_are_quantiles_of_metrics_on_repeated_rows() -> None:
    found = household_intervals(Y, P, HOUSEHOLDS, n_resamples=40, seed=3)
    weights = household_weights(HOUSEHOLDS, 40, np.random.default_rng(3)).astype(int)
    oracles = {
        "roc_auc": roc_auc_score,
        "average_precision": average_precision_score,
        "brier": brier_score_loss,
        "log_loss": lambda y, p: log_loss(y, p, labels=[0, 1]),
    }
    for name, metric in oracles.items():
        values = [metric(np.repeat(Y, w), np.repeat(P, w)) for w in weights]
        low, high = np.quantile(values, [0.025, 0.975])
        np.testing.assert_allclose(found[name], (metric(Y, P), low, high, 300), rtol=1e-9)


def test_the_resampled_lift_is_near_the_lift_of_repeated_rows() -> None:
    found = household_intervals(Y, P, HOUSEHOLDS, n_resamples=40, seed=3, fraction=0.2)["lift"]
    weights = household_weights(HOUSEHOLDS, 40, np.random.default_rng(3)).astype(int)
    values = [lift(np.repeat(Y, w), np.repeat(P, w), fraction=0.2) for w in weights]
    # It takes exactly a fifth of the rows, `lift` rounds up to a whole row.
    np.testing.assert_allclose(found[1:3], np.quantile(values, [0.025, 0.975]), rtol=0.02)
    assert found.value == lift(Y, P, fraction=0.2)
    flat = household_intervals(Y, np.full(300, 0.3), HOUSEHOLDS, n_resamples=40)["lift"]
    np.testing.assert_allclose(flat[:3], 1)


@pytest.mark.filterwarnings("error")
def test_what_one_class_leaves_without_meaning_is_nan() -> None:
    found = household_intervals(np.zeros(300), P, HOUSEHOLDS, n_resamples=40)
    for name in ("roc_auc", "average_precision", "lift"):
        assert np.isnan(found[name][:3]).all()
    assert 0 < found["brier"].low < found["brier"].value < found["brier"].high
    # Some resamples hold no one: they are left out.
    rare = household_intervals(np.arange(300) == 7, P, HOUSEHOLDS, n_resamples=40)
    assert np.isfinite([rare[name][:3] for name in rare]).all()


def test_differences_are_paired_and_a_model_does_not_differ_from_itself() -> None:
    same = household_intervals(Y, P, HOUSEHOLDS, baseline=P, n_resamples=40)
    assert all(interval[:3] == (0, 0, 0) for interval in same.values())
    worse = np.clip(P + RNG.normal(0, 0.3, 300), 0, 1)
    gain = household_intervals(Y, P, HOUSEHOLDS, baseline=worse, n_resamples=200)
    alone = [household_intervals(Y, p, HOUSEHOLDS, n_resamples=200)["roc_auc"] for p in (P, worse)]
    assert np.isclose(gain["roc_auc"].value, alone[0].value - alone[1].value)
    assert gain["roc_auc"].low > 0 > gain["brier"].high


def test_with_one_row_per_household_they_are_the_plain_bootstrap() -> None:
    ids = np.arange(300)
    clustered = household_intervals(Y, P, ids, n_resamples=2_000, seed=4)
    plain = bootstrap_classification(Y, P, n_resamples=2_000, seed=5)
    for name, interval in plain.items():
        width = interval.high - interval.low
        assert abs(clustered[name].low - interval.low) < 0.1 * width
        assert abs(clustered[name].high - interval.high) < 0.1 * width


def test_households_with_many_like_rows_widen_the_interval() -> None:
    values, ids = np.repeat(RNG.random(60), 5), np.repeat(np.arange(60), 5)
    clustered, plain = household_mean(values, ids, n_resamples=2_000), bootstrap_interval(values)
    assert clustered.value == plain.value
    assert np.isclose((clustered.high - clustered.low) / (plain.high - plain.low), np.sqrt(5), rtol=0.1)
