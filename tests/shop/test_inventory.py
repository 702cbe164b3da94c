"""Shelves against a loop, the newsvendor against enumeration, censored demand against a likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import poisson

from recsys_lib.shop.inventory import newsvendor, simulate_stock, uncensored_mean


def test_the_newsvendor_orders_what_enumeration_says() -> None:
    levels = np.linspace(0.001, 0.999, 999)
    for mean, cost in ((40.0, 0.3), (200.0, 0.7)):
        demand = np.arange(600)
        chance = poisson.pmf(demand, mean)
        profit = [(np.minimum(demand, q) * chance).sum() - cost * q for q in range(400)]
        found = newsvendor(poisson.ppf(levels, mean)[None], levels, 1.0, cost)[0]
        assert abs(found - np.argmax(profit)) <= 1


def test_uncensored_mean_is_the_most_likely_one() -> None:
    rng = np.random.default_rng(1)
    stock, demand = rng.integers(3, 9, 400), rng.poisson(6, 400)
    sold = np.minimum(stock, demand)

    def against(mean: float) -> float:
        empty = sold == stock
        return -(poisson.logpmf(sold[~empty], mean).sum() + poisson.logsf(stock[empty] - 1, mean).sum())

    best = minimize_scalar(against, bounds=(1, 20), method="bounded", options={"xatol": 1e-8}).x
    assert uncensored_mean(sold, stock) == pytest.approx(best, abs=1e-4)
    assert sold.mean() < best - 0.5


def shelf_by_loop(demand: list[float], top: float, lead: int, trigger: float) -> tuple[list, list]:
    hand, coming, lost, orders = top, {}, [], []
    for week, wanted in enumerate(demand):
        hand += coming.pop(week, 0)
        lost.append(max(wanted - hand, 0))
        hand = max(hand - wanted, 0)
        position = hand + sum(coming.values())
        orders.append(top - position if position <= trigger and position < top else 0)
        coming[week + lead] = orders[-1]
    return lost, orders


@pytest.mark.parametrize("lead", [1, 2, 4])
@pytest.mark.parametrize("trigger", [None, 5.0])
def test_shelves_run_like_a_loop(lead: int, trigger: float | None) -> None:
    demand = np.random.default_rng(2).poisson(3, (5, 60)).astype(float)
    run = simulate_stock(demand, np.full(5, 12.0), lead, None if trigger is None else np.full(5, trigger))
    for row in range(5):
        lost, orders = shelf_by_loop(list(demand[row]), 12.0, lead, np.inf if trigger is None else trigger)
        assert np.allclose(run.lost[row], lost)
        assert np.allclose(run.ordered[row], orders)
    sold = demand - run.lost
    arrived = np.hstack([np.zeros((5, lead)), run.ordered[:, :-lead]]).cumsum(axis=1)
    assert np.allclose(run.on_hand, 12 + arrived - sold.cumsum(axis=1))  # nothing appears, nothing vanishes


BAD = {
    "negative demand": (lambda: simulate_stock([[1, -2]], 3), "demand is -2.0 in row 0, week 1"),
    "a missing week": (lambda: simulate_stock([[1, np.nan]], 3), "demand is nan in row 0, week 1"),
    "no week": (lambda: simulate_stock(np.zeros((2, 0)), 3), "a column per week"),
    "zero cost": (lambda: newsvendor([[1, 2]], [0.1, 0.9], 2, 0), "cost must lie above 0"),
    "cost above price": (lambda: newsvendor([[1, 2]], [0.1, 0.9], 2, 3), "below the price"),
    "crossing": (lambda: newsvendor([[2, 1]], [0.1, 0.9], 2, 1), "quantiles of row 0 fall"),
    "outside": (lambda: newsvendor([[1, 2]], [0.1, 0.2], 2, 1), "0.500 lies outside"),
    "levels": (lambda: newsvendor([[1, 2]], [0.9, 0.1], 2, 1), "levels must rise"),
    "more than there was": (lambda: uncensored_mean([3], [2]), "no sale can exceed the stock"),
    "always empty": (lambda: uncensored_mean([2, 3], [2, 3]), "every week ended"),
    "lead time": (lambda: simulate_stock([[1, 2]], 3, 0), "lead_time must be 1"),
    "s above S": (lambda: simulate_stock([[1, 2]], [3], 1, [4]), "s must lie below"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
