"""Uplift against a loop, and against a campaign whose effect is known."""

import numpy as np
import pytest

from recsys_lib.customers import qini_curve, uplift_areas

RNG = np.random.default_rng(0)
N = 400
SCORE, TREATED = RNG.random(N), RNG.random(N) < 0.5
DOLLARS = np.round(RNG.normal(3, 2, N) + 2 * SCORE * TREATED, 2)


def by_loop(y: np.ndarray, treated: np.ndarray, score: np.ndarray) -> list[float]:
    curve, order = [0.0], sorted(range(len(y)), key=lambda i: -score[i])
    for k in range(1, len(y) + 1):
        with_it = [y[i] for i in order[:k] if treated[i]]
        without = [y[i] for i in order[:k] if not treated[i]]
        gained = sum(with_it) - sum(without) * len(with_it) / len(without) if with_it and without else 0.0
        curve.append(gained / treated.sum())
    return curve


def test_the_curve_is_the_loop_and_ends_at_the_average_effect() -> None:
    curve = qini_curve(DOLLARS, TREATED, SCORE)
    np.testing.assert_allclose(curve, by_loop(DOLLARS, TREATED, SCORE), atol=1e-12)
    assert np.isclose(curve[-1], DOLLARS[TREATED].mean() - DOLLARS[~TREATED].mean())


def test_a_weight_is_a_repeated_row() -> None:
    weights = RNG.integers(0, 3, (1, N)).astype(float)
    again = np.repeat(np.arange(N), weights[0].astype(int))
    curve = qini_curve(DOLLARS, TREATED, SCORE, weights)[0]
    repeated = by_loop(DOLLARS[again], TREATED[again], SCORE[again])
    # The weighted curve has a point per row, the other one per copy: compare where a row is complete.
    ends = np.cumsum(weights[0][np.argsort(-SCORE, kind="stable")]).astype(int)
    np.testing.assert_allclose(curve[1:], np.array(repeated)[ends], atol=1e-12)


def test_the_area_of_the_true_effect_is_the_largest_and_a_random_order_has_none() -> None:
    rng = np.random.default_rng(1)
    effect, treated = rng.uniform(-0.2, 0.4, 20_000), rng.random(20_000) < 0.5
    bought = (rng.random(20_000) < 0.4 + effect * treated).astype(int)
    best = uplift_areas(bought, treated, effect, n_resamples=200)
    worst = uplift_areas(bought, treated, -effect, n_resamples=200)
    chance = uplift_areas(bought, treated, rng.random(20_000), n_resamples=200)
    # Contacting the share s with the largest effect gains ∫ (0.4 − 0.6 u) du from 0 to s.
    assert np.isclose(best["auuc"].value, 0.4 / 2 - 0.6 / 6, atol=0.01)
    assert best["qini"].low > chance["qini"].high > 0 > chance["qini"].low > worst["qini"].high
    more = uplift_areas(bought, treated, effect, baseline=-effect, n_resamples=200)["qini"]
    assert np.isclose(more.value, best["qini"].value - worst["qini"].value)
    assert more.low > 0


def test_households_are_drawn_whole() -> None:
    copies = np.tile(np.arange(N), 4)
    apart, together = (
        uplift_areas(DOLLARS[copies], TREATED[copies], SCORE[copies], groups=groups)["auuc"]
        for groups in (None, copies)
    )
    assert together.n == N
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treated": np.ones(N, bool)}, "without a control group"),
        ({"treated": np.zeros(N, bool)}, "without a control group"),
        ({"score": SCORE[1:]}, "one entry per row"),
        ({"y": np.full(N, np.nan)}, "finite"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        qini_curve(**({"y": DOLLARS, "treated": TREATED, "score": SCORE} | change))
