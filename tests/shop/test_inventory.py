"""Shelves against a loop."""

import numpy as np
import pytest

from recsys_lib.shop.inventory import simulate_stock


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
    "negative demand": (([[1, -2]], [3]), "demand is -2.0 in row 0, week 1"),
    "a missing week": (([[1, np.nan]], [3]), "demand is nan in row 0, week 1"),
    "lead time": (([[1, 2]], [3], 0), "lead_time must be 1"),
    "a level": (([[1, 2], [3, 4]], [3, np.nan]), "order_up_to is nan in row 1"),
    "one series without its brackets": (([1, 2, 3], [3]), r"n_weeks.*got \(3,\) and \(1,\)"),
    "s that is no number": (([[1, 2]], [3], 1, [np.nan]), "s must lie below"),
    "s above S": (([[1, 2]], [3], 1, [4]), "s must lie below"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case: str) -> None:
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        simulate_stock(*arguments)
