"""What a product should cost: a weekly panel with known zeros, elasticities of counts, prices on a ladder."""

from typing import NamedTuple

import numpy as np
import pandas as pd

CELL = ["product_id", "store_id", "week"]


class Effects(NamedTuple):
    """Coefficients and their standard errors, and the number of clusters."""

    value: np.ndarray
    error: np.ndarray
    n_clusters: int


def weekly_panel(
    lines: pd.DataFrame, promotions: pd.DataFrame, least_weeks: int = 13, least_stores: int = 3
) -> pd.DataFrame:
    """Lay purchase lines out as product × store × week, with the zeros that are known.

    A week without a sale is a zero only if the product was for sale: between its first and last sold week in
    that store, and with a price known from other stores. Other empty weeks are left out, not filled with 0.

    Parameters
    ----------
    lines : pandas.DataFrame
        `product_id`, `store_id`, `week`, `quantity` (pieces), `paid` (dollars).
    promotions : pandas.DataFrame
        As from `load_promotions`. A pair that is not named in a week was not promoted in it.
    least_weeks, least_stores : int
        Weeks with a sale that a pair needs; other stores with a sale that make a week's price known.

    Returns
    -------
    pandas.DataFrame
        `product_id`, `store_id`, `week`, `quantity`, `price` (paid per piece, NaN where none was sold),
        `chain_price` (median of the *other* stores), `display`, `mailer` (0 or 1); sorted by the first three.
    """
    _check_lines(lines)
    sold = lines.groupby(CELL)[["quantity", "paid"]].sum().reset_index()
    sold["price"] = sold["paid"] / sold["quantity"]
    sold["others"] = _median_of_others(sold)
    of_week = sold.groupby(["product_id", "week"])["price"].agg(all_stores="median", stores="size")
    span = sold.groupby(CELL[:2])["week"].agg(["nunique", "min", "max"])
    span = span[span["nunique"] >= least_weeks]
    if span.empty:
        raise ValueError(f"no product sold in {least_weeks} weeks or more in one store: lower least_weeks")
    length = (span["max"] - span["min"] + 1).to_numpy()
    panel = span.loc[span.index.repeat(length)].reset_index()
    panel["week"] = panel["min"] + panel.groupby(CELL[:2]).cumcount()
    sold = sold[[*CELL, "quantity", "price", "others"]]
    panel = panel[CELL].merge(sold, "left", CELL)
    panel = panel.join(of_week, on=["product_id", "week"])
    known_from = panel["stores"] - panel["price"].notna()
    panel["chain_price"] = panel["others"].where(panel["price"].notna(), panel["all_stores"])
    panel = panel[known_from >= least_stores].fillna({"quantity": 0.0})
    marks = promotions.rename(columns={"display_location": "display", "mailer_location": "mailer"})
    marks = (marks.set_index(CELL) != "0").groupby(CELL).max().astype(float)
    panel = panel.join(marks, on=CELL).fillna({"display": 0.0, "mailer": 0.0})
    return panel.drop(columns=["others", "all_stores", "stores"]).sort_values(CELL, ignore_index=True)


def poisson_effects(y: np.ndarray, x: np.ndarray, absorb: list[np.ndarray], clusters: np.ndarray) -> Effects:
    """Fit ``E[y] = exp(X β + one effect per level of every grouping)`` and its errors by cluster.

    Zeros stay in, and y need not be Poisson: only its mean must have this form. The effects are never
    estimated one by one; each step of weighted least squares removes them by taking group means off.

    Parameters
    ----------
    y : array, shape (n,)
        Counts or amounts, at least 0. Groups in which all are 0 say nothing and must be left out.
    x : array, shape (n, n_columns)
        The coefficient of the logarithm of a price is its elasticity.
    absorb : list of arrays, shape (n,)
        Groupings such as product × store, and week; a constant array stands for the intercept.
    clusters : array, shape (n,)

    References
    ----------
    Correia, Guimarães & Zylkin (2020), "Fast Poisson estimation with high-dimensional fixed effects", Stata
    Journal 20(1).
    """
    y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
    groups = [np.unique(one, return_inverse=True)[1] for one in absorb]
    cluster = np.unique(clusters, return_inverse=True)[1]
    _check_regression(y, x, groups, cluster)
    mu, beta = (y + y.mean()) / 2, np.full(x.shape[1], np.inf)
    eta = np.log(mu)
    for _ in range(100):
        rest = _take_means_off(np.column_stack([eta + (y - mu) / mu, x]), mu, groups)
        bread = rest[:, 1:].T @ (rest[:, 1:] * mu[:, None])
        if np.linalg.cond(bread) > 1e12:
            raise ValueError("a column of x does not vary within the absorbed groups: leave it out")
        last, beta = beta, np.linalg.solve(bread, rest[:, 1:].T @ (rest[:, 0] * mu))
        eta = eta + (y - mu) / mu - (rest[:, 0] - rest[:, 1:] @ beta)
        mu = np.exp(np.clip(eta, -30, 30))
        if np.abs(beta - last).max() < 1e-8:
            break
    scores = rest[:, 1:] * (y - mu)[:, None]
    of_cluster = np.stack([np.bincount(cluster, column) for column in scores.T], axis=1)
    n_clusters, bread = len(of_cluster), np.linalg.inv(bread)
    variance = bread @ (of_cluster.T @ of_cluster) @ bread * n_clusters / (n_clusters - 1)
    return Effects(beta, np.sqrt(np.diag(variance)), n_clusters)


def ladder_price(
    ladder: np.ndarray, cost: float, price: float, elasticity: float, largest_change: float = 0.1
) -> float:
    """Choose from allowed prices the one with the largest profit, if demand has a constant elasticity.

    Profit at p is proportional to ``(p − cost) (p / price)^elasticity``. Without a ladder or bounds, and with
    an elasticity below −1, the best price is ``cost · e / (1 + e)``.

    Parameters
    ----------
    ladder : array, shape (n_prices,)
        Those further from today's price than `largest_change` are not tried; today's is always allowed.
    cost, price : float
        Of one piece, today.
    elasticity : float
    largest_change : float
        As a share of today's price.
    """
    ladder = np.append(np.asarray(ladder, np.float64), price)
    wrong = np.flatnonzero(~(np.isfinite(ladder) & (ladder > 0)))
    if len(wrong):
        raise ValueError(f"prices must be above 0, but price {wrong[0]} of the ladder is {ladder[wrong[0]]}")
    if not (np.isfinite(cost) and cost > 0):
        raise ValueError(f"cost must be above 0, got {cost}: a free product has no best price by this rule")
    if not (np.isfinite(elasticity) and largest_change > 0):
        raise ValueError(f"elasticity must be finite, largest_change above 0: {elasticity}, {largest_change}")
    allowed = ladder[np.abs(ladder / price - 1) <= largest_change + 1e-9]
    return float(allowed[np.argmax((allowed - cost) * (allowed / price) ** elasticity)])


def _median_of_others(sold: pd.DataFrame) -> np.ndarray:
    """Return for every cell the median price of the same product and week in the other stores."""
    order = np.lexsort((sold["price"], sold["week"], sold["product_id"]))
    values = sold["price"].to_numpy()[order]
    keys = sold[["product_id", "week"]].to_numpy()[order]
    start = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1)))
    size = np.diff(np.append(start, len(values)))
    first, left = np.repeat(start, size), np.repeat(size, size) - 1
    rank = np.arange(len(values)) - first
    low, high = np.maximum(left - 1, 0) // 2, left // 2
    picked = [values[np.minimum(first + k + (rank <= k), len(values) - 1)] for k in (low, high)]
    medians = np.empty(len(values))
    medians[order] = np.where(left > 0, np.mean(picked, axis=0), np.nan)
    return medians


def _take_means_off(columns: np.ndarray, weight: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Project columns off the dummies of all groupings, in the metric of the weights, by turns."""
    totals = [np.bincount(group, weight) for group in groups]
    for _ in range(1_000):
        moved = 0.0
        for group, total in zip(groups, totals, strict=True):
            for j, column in enumerate(columns.T):
                means = np.bincount(group, weight * column) / total
                columns[:, j] -= means[group]
                moved = max(moved, np.abs(means).max())
        if len(groups) == 1 or moved < 1e-8:
            break
    return columns


def _check_lines(lines: pd.DataFrame) -> None:
    for name in ("quantity", "paid"):
        values = lines[name].to_numpy(np.float64)
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(wrong):
            row = f"{name} is {values[wrong[0]]} in row {wrong[0]}"
            raise ValueError(f"{row}; sales need a number above 0: take returns and gifts out first")
    missing = np.flatnonzero(lines[CELL].isna().any(axis=1))
    if len(missing):
        raise ValueError(f"row {missing[0]} lacks its product, store or week")


def _check_regression(y: np.ndarray, x: np.ndarray, groups: list[np.ndarray], cluster: np.ndarray) -> None:
    lengths = {len(y), len(x), len(cluster), *map(len, groups)}
    if len(lengths) > 1 or x.ndim != 2 or not groups:
        raise ValueError(f"y, x, clusters and each grouping need one row each, got {sorted(lengths)}")
    if not (np.isfinite(x).all() and (y >= 0).all() and np.isfinite(y).all()):
        raise ValueError("y must be at least 0 and x finite: the logarithm of a price of 0 is not")
    if cluster.max() == 0:
        raise ValueError("all rows are of one cluster (one product?): its errors need two or more")
    for place, group in enumerate(groups):
        if (np.bincount(group, y) == 0).any():
            raise ValueError(f"a group of absorb[{place}] has no sale at all: leave its rows out")
