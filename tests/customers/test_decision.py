"""Profit, thresholds and budgets against short loops."""

import numpy as np
import pytest

from recsys_lib.customers import best_threshold, profit_curve, profits

RNG = np.random.default_rng(1)
P = np.round(RNG.random(300) ** 2, 2)  # with ties
Y = (RNG.random(300) < P).astype(int)


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


@pytest.mark.parametrize("p", [-4.0, 0.3, 0.1, 0.7, 1.0, 9.0])
def test_predictions_a_last_bit_apart_are_told_apart(p: float) -> None:
    both = np.array([p, np.nextafter(p, -np.inf)])
    curve = profit_curve([1, 0], both, value=5.0, cost=1.0)
    assert [(both >= threshold).sum() for threshold in curve["threshold"]] == curve["contacted"].tolist()


def test_without_value_nobody_and_without_cost_everybody_who_may_convert() -> None:
    assert best_threshold(Y, P, value=0.0, cost=1.0) == np.inf
    assert profits(Y, best_threshold(Y, P, 1.0, 0.0) <= P, 1.0, 0.0).sum() == Y.sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: profits(Y, P > 0.5, 5.0, -1.0), "cost must be a number of dollars, 0 or more, got -1.0"),
        (lambda: profits(Y, P > 0.5, -5.0, 1.0), "value must be a number of dollars"),
        (lambda: profits(Y, P > 0.5, np.nan, 1.0), "value must be a number of dollars"),
        (lambda: profit_curve(Y, P, 5.0, -1.0), "cost must be a number of dollars"),
        (lambda: best_threshold(Y, P, 5.0, -1.0), "cost must be a number of dollars"),
        (lambda: profits(Y, P[:5] > 0.5, 5.0, 1.0), "one entry per household in both"),
        (lambda: profit_curve(Y, P[:5], 5.0, 1.0), "vectors of one length"),
        (lambda: profit_curve(Y, P * np.nan, 5.0, 1.0), "p finite"),
        (lambda: profit_curve([], [], 5.0, 1.0), "length above 0"),
        (lambda: best_threshold(Y * np.nan, P, 5.0, 1.0), "0 or 1, and nothing is missing"),
        (lambda: best_threshold(Y + 1, P, 5.0, 1.0), "0 or 1, and nothing is missing"),
    ],
)
def test_bad_prices_and_shapes_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
