"""How many to have: the newsvendor, demand behind empty shelves, stock by the week."""

from typing import NamedTuple

import numpy as np
from scipy.stats import poisson


class StockRun(NamedTuple):
    """A simulated warehouse: arrays of shape (n_series, n_weeks)."""

    on_hand: np.ndarray  # pieces left at the end of the week
    lost: np.ndarray  # demand that found an empty shelf
    ordered: np.ndarray  # pieces ordered at the end of the week


def newsvendor(quantiles: np.ndarray, levels: np.ndarray, price: float, cost: float) -> np.ndarray:
    """Order the quantile of demand at which one piece more earns as much as it risks: ``1 − cost / price``.

    Parameters
    ----------
    quantiles : array, shape (n_products, n_levels)
        Of the demand, rising along the row.
    levels : array, shape (n_levels,)
        Rising; between two of them the quantile is interpolated.
    price, cost : float
        Per piece; what is left over is worth nothing.

    References
    ----------
    Arrow, Harris & Marschak (1951), "Optimal inventory policy", Econometrica 19(3).
    """
    if not 0 < cost < price:
        raise ValueError(f"cost must lie above 0 and below the price, got cost {cost} and price {price}")
    quantiles, levels = np.atleast_2d(np.asarray(quantiles, np.float64)), np.asarray(levels, np.float64)
    if quantiles.shape[1:] != levels.shape or (np.diff(levels) <= 0).any():
        raise ValueError(f"levels must rise, one per column: {levels.shape} for quantiles {quantiles.shape}")
    crossing = np.flatnonzero((np.diff(quantiles) < 0).any(axis=1))
    if len(crossing):
        raise ValueError(f"the quantiles of row {crossing[0]} fall: sort them first")
    level = 1 - cost / price
    if not levels[0] <= level <= levels[-1]:
        raise ValueError(f"the best level {level:.3f} lies outside of the levels {levels[0]} to {levels[-1]}")
    return np.array([np.interp(level, levels, row) for row in quantiles])


def uncensored_mean(sales: np.ndarray, stock: np.ndarray) -> float:
    """Estimate the mean of Poisson demand from sales that cannot exceed the stock.

    Where all was sold, demand was the stock *or more*: each step of expectation and maximisation replaces it
    by its mean given that, ``E[D | D ≥ s] = λ P(D ≥ s − 1) / P(D ≥ s)``.

    Parameters
    ----------
    sales, stock : array, shape (n_weeks,)
        Pieces, whole, at least 0; sales at most the stock.

    References
    ----------
    Conrad (1976), "Sales data and the estimation of demand", Operational Research Quarterly 27(1).
    """
    sales, stock = _demand(sales, "sales")[0], _demand(stock, "stock")[0]
    if sales.shape != stock.shape or (sales > stock).any():
        raise ValueError("sales and stock need one number per week, and no sale can exceed the stock")
    empty = sales == stock
    if empty.all():
        raise ValueError("every week ended with an empty shelf: nothing says how large the demand was")
    mean = max(sales.mean(), 0.1)
    for _ in range(10_000):
        behind = mean * poisson.sf(stock[empty] - 2, mean) / poisson.sf(stock[empty] - 1, mean)
        last, mean = mean, (sales[~empty].sum() + behind.sum()) / len(sales)
        if abs(mean - last) < 1e-10:
            break
    return float(mean)


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
    demand = _demand(demand, "demand")
    level = np.broadcast_to(np.asarray(order_up_to, np.float64), len(demand))
    if lead_time < 1 or not (np.isfinite(level) & (level >= 0)).all():
        raise ValueError(f"lead_time must be 1 week or more and S at least 0; got lead_time {lead_time}")
    trigger = np.full(len(demand), np.inf) if reorder_point is None else np.asarray(reorder_point, np.float64)
    if reorder_point is not None and (trigger >= level).any():
        raise ValueError("the reorder point s must lie below the level S that an order fills up to")
    on_hand, on_order = level, np.zeros((len(demand), lead_time))
    columns: list[tuple] = []
    for today in demand.T:
        on_hand = on_hand + on_order[:, 0]
        lost = np.maximum(today - on_hand, 0)
        on_hand = np.maximum(on_hand - today, 0)
        on_order = np.hstack([on_order[:, 1:], np.zeros((len(demand), 1))])
        position = on_hand + on_order.sum(axis=1)
        order = np.where(position <= trigger, np.maximum(level - position, 0), 0)
        on_order[:, -1] = order
        columns.append((on_hand, lost, order))
    return StockRun(*(np.stack(part, axis=1) for part in zip(*columns, strict=True)))


def _demand(values: np.ndarray, name: str) -> np.ndarray:
    """Return values as (n_series, n_weeks), at least one week, none missing or below 0."""
    values = np.atleast_2d(np.asarray(values, np.float64))
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"{name} must have a row per product and a column per week, got {values.shape}")
    wrong = np.argwhere(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        row, week = wrong[0]
        raise ValueError(f"{name} is {values[row, week]} in row {row}, week {week}: a number ≥ 0 is needed")
    return values
