"""Panels by hand, Poisson effects against statsmodels with all dummies, prices against enumeration."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from recsys_lib.shop.pricing import ladder_price, poisson_effects, weekly_panel

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
    [("quantity", -1, "quantity is -1.0 in row 2"), ("paid", 0.0, "paid is 0.0 in row 2")],
)
def test_bad_lines_are_named(name: str, value: float, message: str) -> None:
    lines = sales([(1, 10, week, 1, 2.0) for week in range(4)])
    lines[name] = lines[name].astype(float)
    lines.loc[2, name] = value
    with pytest.raises(ValueError, match=message):
        weekly_panel(lines, NO_PROMOTIONS)


def test_a_missing_week_and_too_few_weeks_are_named() -> None:
    lines = sales([(1, 10, week, 1, 2.0) for week in (1.0, np.nan, 3.0)])
    with pytest.raises(ValueError, match="row 1 lacks"):
        weekly_panel(lines, NO_PROMOTIONS)
    with pytest.raises(ValueError, match="lower least_weeks"):
        weekly_panel(lines.dropna(), NO_PROMOTIONS)


def counts(seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    item, week = np.repeat(np.arange(12), 20), np.tile(np.arange(20), 12)
    X = rng.normal(size=(240, 2))
    mean = np.exp(0.5 + X @ [-0.8, 0.4] + rng.normal(size=12)[item] + 0.3 * rng.normal(size=20)[week])
    return rng.poisson(mean).astype(float), X, item, week


def test_effects_and_errors_equal_those_of_a_regression_with_all_dummies() -> None:
    y, X, item, week = counts()
    ours = poisson_effects(y, X, [item, week], item)
    dummies = pd.get_dummies(item, dtype=float).join(
        pd.get_dummies(week, dtype=float, prefix="w", drop_first=True)
    )
    model = sm.GLM(y, np.column_stack([X, dummies]), family=sm.families.Poisson())
    theirs = model.fit(
        cov_type="cluster", cov_kwds={"groups": item, "use_correction": False}, tol=1e-12, maxiter=200
    )
    assert np.allclose(ours.value, theirs.params[:2], atol=1e-6)
    assert np.allclose(ours.error, theirs.bse[:2] * np.sqrt(12 / 11), rtol=1e-5)
    assert ours.n_clusters == 12


def test_a_constant_grouping_and_clusters_across_it() -> None:
    y, X, item, week = counts(1)
    model = sm.GLM(y, sm.add_constant(X), family=sm.families.Poisson())
    clusters = (item + week) % 7
    plain = model.fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, tol=1e-12)
    ours = poisson_effects(y, X, [np.zeros(240)], clusters)
    assert np.allclose(ours.value, plain.params[1:], atol=1e-6)
    assert np.allclose(ours.error, plain.bse[1:] * np.sqrt(7 / 6), rtol=1e-5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda y, X, item: (y, X, item, np.zeros(240)), "one product"),
        (lambda y, X, item: (-y - 1, X, item, item), "at least 0"),
        (lambda y, X, item: (y, np.where(X > 1, np.nan, X), item, item), "x finite"),
        (lambda y, X, item: (np.where(item == 3, 0, y), X, item, item), "no sale at all"),
        (lambda y, X, item: (y, np.column_stack([X, item]), item, item), "does not vary"),
        (lambda y, X, item: (y[:9], X, item, item), "one row each"),
    ],
)
def test_bad_regressions_are_refused(damage, message: str) -> None:
    y, X, item, _ = counts()
    y, X, item, cluster = damage(y, X, item)
    with pytest.raises(ValueError, match=message):
        poisson_effects(y, X, [item], cluster)


def test_the_ladder_price_is_the_best_by_enumeration_and_near_the_margin_rule() -> None:
    ladder = np.round(np.arange(0.5, 5, 0.01), 2)
    for elasticity in (-1.5, -2.0, -4.0):
        found = ladder_price(ladder, 1.0, 2.0, elasticity, largest_change=2.0)
        assert found == pytest.approx(elasticity / (1 + elasticity), abs=0.01)
    few = [1.0, 1.79, 1.89, 2.19, 2.5]
    for elasticity in (-1.5, -3.0):  # the best of all lies outside of the bounds with the first
        profit = {p: (p - 1) * (p / 2) ** elasticity for p in [1.79, 1.89, 2.0, 2.19]}
        found = ladder_price(few, 1.0, 2.0, elasticity, largest_change=0.11)
        assert found == max(profit, key=profit.get)
    assert ladder_price([9.0], 1.0, 2.0, -3.0) == 2.0  # nothing allowed but today's


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ladder": [1.0, -2.0]}, "price 1 of the ladder is -2.0"),
        ({"price": -1.0}, "prices must be above 0"),
        ({"cost": 0.0}, "cost must be above 0"),
        ({"elasticity": np.nan}, "elasticity must be finite"),
    ],
)
def test_bad_prices_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ladder_price(**({"ladder": [1.0, 2.0], "cost": 1.0, "price": 2.0, "elasticity": -2.0} | changed))
