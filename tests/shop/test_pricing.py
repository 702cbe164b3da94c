"""Panels by hand, Poisson effects against a regression with all dummies."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import PoissonRegressor

from recsys_lib.shop.pricing import poisson_effects, weekly_panel

NO_PROMOTIONS = pd.DataFrame(
    {"product_id": [1], "store_id": [10], "week": [3], "display_location": ["0"], "mailer_location": ["A"]}
)


def sales(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["product_id", "store_id", "week", "quantity", "paid"])


def test_zeros_are_kept_where_the_product_was_for_sale() -> None:
    rows = [(1, 10, week, 1, 2.0) for week in (1, 2, 4)]  # store 10 sold nothing in week 3
    rows += [(1, store, week, 1, price) for week in (1, 2, 3, 4) for store, price in ((11, 1.0), (12, 3.0))]
    panel = weekly_panel(sales(rows), NO_PROMOTIONS, least_weeks=3, least_stores=2)
    of_store = panel[panel["store_id"] == 10].set_index("week")
    assert of_store["quantity"].tolist() == [1, 1, 0, 1]
    assert np.isnan(of_store.loc[3, "price"])
    assert of_store.loc[3, "chain_price"] == 2.0  # median of 1 and 3
    assert of_store["mailer"].tolist() == [0, 0, 1, 0]
    assert of_store["display"].sum() == 0
    assert len(panel[(panel["store_id"] == 11) & (panel["week"] == 3)]) == 0  # one other store: not known


def test_the_chain_price_is_the_median_of_the_other_stores() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (p, s, w, 1, float(rng.integers(100, 300)) / 100)
        for p in (1, 2)
        for w in range(1, 7)
        for s in range(10, 10 + int(rng.integers(4, 8)))
    ]
    lines = sales(rows)
    panel = weekly_panel(lines, NO_PROMOTIONS, least_weeks=2, least_stores=1)
    for row in panel.itertuples():
        same = lines[(lines["product_id"] == row.product_id) & (lines["week"] == row.week)]
        expected = same.loc[same["store_id"] != row.store_id, "paid"].median()
        assert row.chain_price == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("quantity", -1, "column 'quantity': row 2 .* is -1.0: sales need"),
        ("paid", 0.0, "column 'paid': row 2 .* is 0.0: sales need"),
    ],
)
def test_bad_lines_are_named(name: str, value: float, message: str) -> None:
    lines = sales([(1, 10, week, 1, 2.0) for week in range(4)])
    lines[name] = lines[name].astype(float)
    lines.loc[2, name] = value
    with pytest.raises(ValueError, match=message):
        weekly_panel(lines, NO_PROMOTIONS)


def test_a_missing_week_and_too_few_weeks_are_named() -> None:
    lines = sales([(1, 10, week, 1, 2.0) for week in (1.0, np.nan, 3.0)])
    with pytest.raises(ValueError, match=r"column 'week': row 1 .* every line needs"):
        weekly_panel(lines, NO_PROMOTIONS)
    with pytest.raises(ValueError, match="lower least_weeks"):
        weekly_panel(lines.dropna(), NO_PROMOTIONS)
    with pytest.raises(ValueError, match="no column 'paid'"):
        weekly_panel(lines.drop(columns="paid"), NO_PROMOTIONS)


def counts(seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    item, week = np.repeat(np.arange(12), 20), np.tile(np.arange(20), 12)
    X = rng.normal(size=(240, 2))
    mean = np.exp(0.5 + X @ [-0.8, 0.4] + rng.normal(size=12)[item] + 0.3 * rng.normal(size=20)[week])
    return rng.poisson(mean).astype(float), X, item, week


def by_dummies(y: np.ndarray, X: np.ndarray, dummies: np.ndarray, clusters: np.ndarray) -> tuple:
    """Return coefficients by scikit-learn, and errors from the scores of all columns, cluster by cluster."""
    design = np.column_stack([X, dummies])
    model = PoissonRegressor(alpha=0, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=500)
    mean = model.fit(design, y).predict(design)
    bread = np.linalg.inv((design * mean[:, None]).T @ design)
    scores = [((y - mean)[clusters == one] @ design[clusters == one]) for one in np.unique(clusters)]
    meat = sum(np.outer(score, score) for score in scores) * len(scores) / (len(scores) - 1)
    return model.coef_[:2], np.sqrt(np.diag(bread @ meat @ bread))[:2]


def test_effects_and_errors_equal_those_of_a_regression_with_all_dummies() -> None:
    y, X, item, week = counts()
    dummies = np.column_stack([np.eye(12)[item], np.eye(20)[week][:, 1:]])
    value, error = poisson_effects(y, X, [item, week], item)
    theirs, their_error = by_dummies(y, X, dummies, item)
    assert np.allclose(value, theirs, atol=1e-6)
    assert np.allclose(error, their_error, rtol=1e-5)


def test_a_constant_grouping_and_clusters_across_it() -> None:
    y, X, item, week = counts(1)
    clusters = (item + week) % 7
    value, error = poisson_effects(y, X, [np.zeros(240)], clusters)
    theirs, their_error = by_dummies(y, X, np.ones((240, 1)), clusters)
    assert np.allclose(value, theirs, atol=1e-6)
    assert np.allclose(error, their_error, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_scale_of_x_does_not_matter(scale: float) -> None:
    y, X, item, _ = counts()
    value, error = poisson_effects(y, X * scale, [item], item)
    expected = poisson_effects(y, X, [item], item)
    np.testing.assert_allclose((value * scale, error * scale), expected, rtol=1e-6)


def test_groupings_that_hardly_hang_together_are_refused() -> None:
    """A chain of products and weeks, as many effects as rows: nothing is left to learn from."""
    rng = np.random.default_rng(0)
    product, week = np.repeat(np.arange(20), 2), (np.arange(40) + 1) // 2
    X, y = rng.normal(size=(40, 1)), rng.poisson(5, 40) + 1.0
    with pytest.raises(ValueError, match="leave one grouping, or its sparsest levels, out"):
        poisson_effects(y, X, [product, week], np.arange(40) % 5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda y, X, item: (y, X, item, np.zeros(240)), "one product"),
        (lambda y, X, item: (-y - 1, X, item, item), "at least 0"),
        (lambda y, X, item: (y, np.where(X > 1, np.nan, X), item, item), "x finite"),
        (
            lambda y, X, item: (np.where(item == 3, 0, y), X, item, item),
            r"row 60 in absorb\[0\] has no sale at all",
        ),
        (lambda y, X, item: (y, np.column_stack([X, item]), item, item), "does not vary"),
        (lambda y, X, item: (y[:9], X, item, item), "one row each"),
        (lambda y, X, item: (y[:0], X[:0], item[:0], item[:0]), "one row each"),
        (
            lambda y, X, item: (np.where(X[:, 0] > 0, y, 0), (X[:, :1] > 0) * 1.0, item * 0, item),
            "no end after 100",
        ),
    ],
)
def test_bad_regressions_are_refused(damage, message: str) -> None:
    y, X, item, _ = counts()
    y, X, item, cluster = damage(y, X, item)
    with pytest.raises(ValueError, match=message):
        poisson_effects(y, X, [item], cluster)
