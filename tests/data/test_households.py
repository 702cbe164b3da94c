import numpy as np
import pandas as pd
import pytest

from recsys_lib.data import (
    assert_no_future,
    between,
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


def test_between_keeps_what_happened_in_between(journey):
    kept = between(journey, "2017-03-01", CUT)
    stamps = kept.transactions["transaction_timestamp"]
    assert stamps.min() >= pd.Timestamp("2017-03-01")
    assert stamps.max() < CUT
    sides = between(journey, end="2017-03-01"), kept, between(journey, CUT)
    for name in ("transactions", "campaigns", "coupon_redemptions"):
        parts = [getattr(side, name) for side in sides]
        assert all(len(part) for part in parts)
        assert sum(map(len, parts)) == len(getattr(journey, name))
    starts = journey.campaign_descriptions.set_index("campaign_id")["start_date"]
    assert set(kept.campaigns["campaign_id"]) == set(starts[(starts >= "2017-03-01") & (starts < CUT)].index)
    assert between(journey).products is journey.products


def later_lines(journey, view):
    return journey.transactions["household_id"].value_counts().reindex(view.index)


def later_redemptions(journey, view):
    return journey.coupon_redemptions["household_id"].value_counts().reindex(view.index, fill_value=0)


def all_campaigns(journey, view):
    return journey.campaigns["household_id"].value_counts().reindex(view.index, fill_value=0)


def last_visit(journey, view):
    return journey.transactions.groupby("household_id")["transaction_timestamp"].max().reindex(view.index)


@pytest.mark.parametrize("planted", [later_lines, later_redemptions, all_campaigns, last_visit])
def test_a_planted_leak_is_caught_and_named(journey, planted):
    def leaky(tables):
        view = household_view(tables, CUT)
        return view.assign(planted=planted(tables, view))

    with pytest.raises(AssertionError, match=r"know what happened from 2017-07-01 .* on: planted$"):
        assert_no_future(leaky, journey, CUT)


def test_a_column_that_only_the_past_has_is_a_leak(journey):
    def shy(tables):
        view = household_view(tables, CUT)
        later = (tables.transactions["transaction_timestamp"] >= CUT).any()
        return view if later else view.assign(shy=1)

    with pytest.raises(AssertionError, match=r"on: shy$"):
        assert_no_future(shy, journey, CUT)


def test_households_that_come_later_are_a_leak_too(journey):
    def everybody(tables):
        households = sorted(tables.transactions["household_id"].unique())
        return household_view(tables, CUT).reindex(households)

    with pytest.raises(AssertionError, match="rows depend on what happened"):
        assert_no_future(everybody, journey, CUT)


def test_a_check_that_could_not_fail_is_refused(journey):
    with pytest.raises(ValueError, match="does not read its argument"):
        assert_no_future(lambda tables: household_view(journey, CUT), journey, CUT)


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
