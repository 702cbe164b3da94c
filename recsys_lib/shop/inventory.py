"""Stock by the week: shelves that are filled up to a level."""

from typing import NamedTuple

import numpy as np


class StockRun(NamedTuple):
    """Simulated shelves: arrays of shape (n_series, n_weeks)."""

    on_hand: np.ndarray  # pieces left at the end of the week
    lost: np.ndarray  # demand that found an empty shelf
    ordered: np.ndarray  # pieces ordered at the end of the week


def simulate_stock(
    demand: np.ndarray, order_up_to: np.ndarray, lead_time: int = 1, reorder_point: np.ndarray | None = None
) -> StockRun:
    """Run shelves through weeks of demand; what is not on the shelf is not sold.

    At the end of a week, stock on hand and on order is filled up to S: always (base stock), or only if
    it has fallen to s, which saves orders: (s, S). An order arrives `lead_time` weeks later in the morning.

    Parameters
    ----------
    demand : array, shape (n_series, n_weeks)
    order_up_to : array, shape (n_series,)
        S, with which each shelf begins.
    lead_time : int
        Weeks, at least 1.
    reorder_point : array, shape (n_series,), optional
        s, below S.
    """
    demand, level = np.asarray(demand, np.float64), np.asarray(order_up_to, np.float64)
    if demand.ndim != 2 or level.shape != demand.shape[:1]:
        shapes = f"{demand.shape} and {level.shape}"
        raise ValueError(f"demand needs shape (n_series, n_weeks), order_up_to (n_series,), got {shapes}")
    for row, week in np.argwhere(~(np.isfinite(demand) & (demand >= 0))):
        raise ValueError(f"demand is {demand[row, week]} in row {row}, week {week}: a number ≥ 0 is needed")
    if lead_time < 1:
        raise ValueError(f"lead_time must be 1 week or more, got {lead_time}")
    if len(wrong := np.flatnonzero(~(np.isfinite(level) & (level >= 0)))):
        raise ValueError(f"order_up_to is {level[wrong[0]]} in row {wrong[0]}: a number ≥ 0 is needed")
    trigger = np.full(len(demand), np.inf) if reorder_point is None else np.asarray(reorder_point, np.float64)
    if reorder_point is not None and not (trigger < level).all():
        raise ValueError("the reorder point s must lie below the level S that an order fills up to")
    on_hand, coming, weeks = level, np.zeros((lead_time, len(demand))), []  # coming: a row per morning
    for today in demand.T:
        on_hand = on_hand + coming[0]
        lost, on_hand = np.maximum(today - on_hand, 0), np.maximum(on_hand - today, 0)
        position = on_hand + coming[1:].sum(axis=0)
        order = np.where(position <= trigger, np.maximum(level - position, 0), 0)
        coming = np.vstack([coming[1:], order])
        weeks.append((on_hand, lost, order))
    return StockRun(*np.stack(weeks, axis=2))
