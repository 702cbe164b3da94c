import numpy as np
import pandas as pd
import pytest

from recsys_lib.data import (
    clean_transactions,
    household_view,
    load_complete_journey,
    load_promotions,
    promotion_flags,
)

CUT = pd.Timestamp("2017-07-01")


@pytest.fixture(scope="module")
def journey():
    loaded = load_complete_journey()
    return loaded._replace(transactions=clean_transactions(loaded.transactions, loaded.products).frame)


def test_promotion_flags_equal_a_plain_merge(journey):
    lines = journey.transactions.sample(2_000, random_state=1)
    flags = promotion_flags(lines)
    promotions = load_promotions(products=lines["product_id"])
    keys = ["week", "store_id", "product_id"]
    for flag, column in (("on_display", "display_location"), ("in_mailer", "mailer_location")):
        there = promotions[promotions[column] != "0"][keys].drop_duplicates()
        merged = lines[keys].merge(there, how="left", indicator=True)["_merge"] == "both"
        assert flags[flag].to_numpy().astype(bool).tolist() == merged.tolist()
        assert 0 < merged.sum() < len(lines)


def test_weeks_that_are_not_judged_are_nan(journey):
    lines = journey.transactions.iloc[::1000]
    flags = promotion_flags(lines, weeks=range(1, 10))
    assert (flags["on_display"].isna() == (lines["week"] >= 10)).all()


def test_the_view_knows_nothing_after_its_date(journey):
    """Shuffle and spoil everything from the cut on: the view may not change."""
    generator = np.random.default_rng(0)
    lines = journey.transactions.copy()
    after = (lines["transaction_timestamp"] >= CUT).to_numpy()
    lines.loc[after, "household_id"] = generator.permutation(lines.loc[after, "household_id"])
    lines.loc[after, "sales_value"] = 1e6
    redeemed = journey.coupon_redemptions
    early = redeemed[redeemed["redemption_date"] < CUT]
    starts = journey.campaign_descriptions
    later = starts.loc[starts["start_date"] >= CUT, "campaign_id"]
    spoilt = journey._replace(
        transactions=lines,
        coupon_redemptions=early,
        campaigns=journey.campaigns[~journey.campaigns["campaign_id"].isin(later)],
    )
    pd.testing.assert_frame_equal(household_view(journey, CUT), household_view(spoilt, CUT))


def test_one_household_by_hand(journey):
    view = household_view(journey, CUT)
    lines = journey.transactions
    mine = lines[(lines["household_id"] == 1) & (lines["transaction_timestamp"] < CUT)]
    row = view.loc[1]
    assert row["lines"] == len(mine)
    assert row["baskets"] == len(set(mine["basket_id"]))
    assert row["spend"] == pytest.approx(sum(mine["sales_value"]), rel=1e-12)
    assert row["days_since_last"] == (CUT - mine["transaction_timestamp"].max()).days
    assert row["age"] == "65+"


def test_unknown_demographics_are_a_value(journey):
    view = household_view(journey, CUT)
    assert (view.loc[~view["has_demographics"], "income"] == "unknown").all()
    assert (view.loc[view["has_demographics"], "home_ownership"] == "unknown").sum() > 0
    assert not view.isna().any().any()
