"""What a price does: a weekly panel whose zeros are known, and elasticities of counts."""

import numpy as np
import pandas as pd

from recsys_lib.data.interactions import check_columns, check_rows

CELL = ["product_id", "store_id", "week"]


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
    check_columns(promotions, [*CELL, "display_location", "mailer_location"])
    sold = lines.groupby(CELL)[["quantity", "paid"]].sum().reset_index()
    sold["price"] = sold["paid"] / sold["quantity"]
    sold["others"] = _median_of_others(sold)
    of_week = sold.groupby(["product_id", "week"])["price"].agg(all_stores="median", stores="size")
    span = sold.groupby(CELL[:2])["week"].agg(["nunique", "min", "max"])
    span = span[span["nunique"] >= least_weeks]
    if span.empty:
        raise ValueError(f"no product sold in {least_weeks} weeks or more in one store: lower least_weeks")
    panel = span.loc[span.index.repeat(span["max"] - span["min"] + 1)].reset_index()
    panel["week"] = panel["min"] + panel.groupby(CELL[:2]).cumcount()
    panel = panel[CELL].merge(sold.drop(columns="paid"), "left", CELL).join(of_week, on=CELL[::2])
    known_from = panel["stores"] - panel["price"].notna()
    panel["chain_price"] = panel["others"].where(panel["price"].notna(), panel["all_stores"])
    panel = panel[known_from >= least_stores].fillna({"quantity": 0.0})
    marks = promotions.rename(columns={"display_location": "display", "mailer_location": "mailer"})
    marks = (marks.set_index(CELL) != "0").groupby(CELL).max().astype(float)
    panel = panel.join(marks, on=CELL).fillna({"display": 0.0, "mailer": 0.0})
    return panel.drop(columns=["others", "all_stores", "stores"]).sort_values(CELL, ignore_index=True)


def poisson_effects(
    y: np.ndarray, x: np.ndarray, absorb: list[np.ndarray], clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit ``E[y] = exp(X β + one effect per level of every grouping)``; return β and its errors by cluster.

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
        Rows of one cluster (a product, say) may depend on each other.

    Returns
    -------
    tuple of array, shape (n_columns,)
        The coefficients and their standard errors.

    References
    ----------
    Correia, Guimarães & Zylkin (2020), "Fast Poisson estimation with high-dimensional fixed effects", Stata J
    """
    y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
    cluster, *groups = (np.unique(one, return_inverse=True)[1] for one in (clusters, *absorb))
    _check_regression(y, x, groups, cluster)
    mu, beta, scale = (y + y.mean()) / 2, np.full(x.shape[1], np.inf), np.abs(x).max(axis=0)
    eta = np.log(mu)
    for _ in range(100):
        rest = _take_means_off(np.column_stack([eta + (y - mu) / mu, x]), mu, groups)
        bread = rest[:, 1:].T @ (rest[:, 1:] * mu[:, None])
        if np.linalg.cond(bread) > 1e12:
            raise ValueError(
                "the columns of x cannot be told apart: one does not vary within the absorbed groups, "
                "follows from the others, or is on a far larger scale"
            )
        last, beta = beta, np.linalg.solve(bread, rest[:, 1:].T @ (rest[:, 0] * mu))
        eta = eta + (y - mu) / mu - (rest[:, 0] - rest[:, 1:] @ beta)
        mu = np.exp(np.clip(eta, -30, 30))
        if np.abs((beta - last) * scale).max() < 1e-8:
            break
    else:
        raise ValueError("no end after 100 steps: does a column of x tell rows with sales from rows without?")
    scores = np.stack([np.bincount(cluster, column * (y - mu)) for column in rest[:, 1:].T], axis=1)
    half = scores @ np.linalg.inv(bread)
    return beta, np.sqrt((half**2).sum(axis=0) * len(half) / (len(half) - 1))


def _median_of_others(sold: pd.DataFrame) -> np.ndarray:
    """Return for every cell the median price of the same product and week in the other stores."""
    ordered = sold.sort_values(["product_id", "week", "price"])
    groups = ordered.groupby(["product_id", "week"], sort=False)["price"]
    rank, left, values = groups.cumcount(), groups.transform("size") - 1, ordered["price"].to_numpy()
    first = np.arange(len(values)) - rank
    # Without the cell itself, every price after it moves down by one place.
    places = (first + place + (rank <= place) for place in (np.maximum(left - 1, 0) // 2, left // 2))
    medians = np.mean([values[np.minimum(place, len(values) - 1)] for place in places], axis=0)
    return pd.Series(medians, ordered.index).where(left > 0).reindex(sold.index).to_numpy()


def _take_means_off(columns: np.ndarray, weight: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Project columns off the dummies of all groupings, in the metric of the weights, by turns."""
    totals = [np.bincount(group, weight) for group in groups]
    for _ in range(1_000):
        moved = 0.0
        for group, total in zip(groups, totals, strict=True):
            for column in columns.T:
                means = np.bincount(group, weight * column) / total
                column -= means[group]
                moved = max(moved, np.abs(means).max())
        if len(groups) == 1 or moved < 1e-8:
            return columns
    raise ValueError(
        "the groupings in absorb hang together by too few rows, or x is on a far larger scale: their means "
        "could not be taken off in 1,000 sweeps; leave one grouping, or its sparsest levels, out"
    )


def _check_lines(lines: pd.DataFrame) -> None:
    check_columns(lines, [*CELL, "quantity", "paid"])
    for name in CELL:
        check_rows(lines[name], lines[name].isna(), "every line needs its product, store and week")
    for name in ("quantity", "paid"):
        values = lines[name].to_numpy(np.float64)
        bad = ~(np.isfinite(values) & (values > 0))
        check_rows(lines[name], bad, "sales need a number above 0: take returns and gifts out first")


def _check_regression(y: np.ndarray, x: np.ndarray, groups: list[np.ndarray], cluster: np.ndarray) -> None:
    lengths = {len(y), len(x), len(cluster), *map(len, groups)}
    if len(lengths) > 1 or not len(y) or x.ndim != 2 or not groups:
        raise ValueError(f"y, x (2-D), clusters and each grouping need one row each, got {sorted(lengths)}")
    if not (np.isfinite(x).all() and (y >= 0).all() and np.isfinite(y).all()):
        raise ValueError("y must be at least 0 and x finite: the logarithm of a price of 0 is not")
    if cluster.max() == 0:
        raise ValueError("all rows are of one cluster (one product?): its errors need two or more")
    for place, group in enumerate(groups):
        empty = np.bincount(group, y)[group] == 0
        if empty.any():
            where = f"the group of row {np.argmax(empty)} in absorb[{place}]"
            raise ValueError(f"{where} has no sale at all: leave its rows out")
