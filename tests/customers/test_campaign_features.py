"""Features as of a date: against a loop that filters the tables, and against a spoilt future."""

import numpy as np
import pandas as pd
import pytest
from conversion_journey import make_journey

from recsys_lib.customers import campaign_features, campaign_pairs, campaign_table
from recsys_lib.customers.campaign_features import PRIOR_CAMPAIGNS
from recsys_lib.data import CompleteJourney

JOURNEY = make_journey()
PAIRS = campaign_pairs(JOURNEY)
FEATURES = campaign_features(JOURNEY, PAIRS)
FIRST = JOURNEY.transactions["transaction_timestamp"].min().normalize()


def runs(journey: CompleteJourney) -> dict[int, tuple[pd.Timestamp, pd.Timestamp, str]]:
    return {
        r.campaign_id: (r.start_date, r.end_date, r.campaign_type)
        for r in journey.campaign_descriptions.itertuples()
    }


def by_hand(journey: CompleteJourney, household: int, campaign: int) -> dict[str, float]:
    """One row of features, by filtering tables."""
    run = runs(journey)
    start = run[campaign][0]
    lines = journey.transactions
    lines = lines[(lines["household_id"] == household) & (lines["transaction_timestamp"] < start)]
    stamps = lines["transaction_timestamp"]
    elapsed = (start - FIRST).days
    row = {
        "days_since_visit": max((start - (stamps.max() if len(lines) else FIRST)) / pd.Timedelta(days=1), 0)
    }
    coupon_stamps = stamps[lines["coupon_disc"] > 0]
    last_coupon = coupon_stamps.max() if len(coupon_stamps) else FIRST
    row["days_since_coupon"] = max((start - last_coupon) / pd.Timedelta(days=1), 0)
    for days in (28, 84, 182, None):
        some = lines if days is None else lines[stamps >= start - pd.Timedelta(days=days)]
        weeks = max(min(elapsed, days or elapsed) / 7, 1)
        end = "" if days is None else f"_{days}_days"
        row[f"baskets_per_week{end}"] = some["basket_id"].nunique() / weeks
        row[f"lines_per_week{end}"] = len(some) / weeks
        row[f"spend_per_week{end}"] = some["sales_value"].sum() / weeks
        baskets = some.loc[some["coupon_disc"] > 0, "basket_id"].nunique()
        if days != 28:
            row[f"coupon_baskets_per_week{end}"] = baskets / weeks
            row[f"coupon_basket_share{end}"] = baskets / max(some["basket_id"].nunique(), 1)
        row[f"coupon_lines_per_week{end}"] = (some["coupon_disc"] > 0).sum() / weeks
        if days in (84, None):
            full = some["sales_value"].sum() + some["retail_disc"].sum()
            row[f"discount_share{end}"] = some["retail_disc"].sum() / full if len(some) else 0
            row[f"coupon_saving_per_week{end}"] = some["coupon_disc"].sum() / weeks
            for name, flag in (
                ("coupon", some["coupon_disc"] > 0),
                ("on_display", some["on_display"] == 1),
                ("in_mailer", some["in_mailer"] == 1),
            ):
                row[f"{name}_share{end}"] = flag.sum() / max(len(some), 1)
    weeks = max(elapsed / 7, 1)
    row["matched_lines_per_week"] = (lines["coupon_match_disc"] > 0).sum() / weeks
    row["active_weeks_share"] = ((stamps - FIRST).dt.days // 7).nunique() / np.ceil(weeks)
    row["spend_per_basket"] = lines["sales_value"].sum() / max(lines["basket_id"].nunique(), 1)
    row["spend_trend"] = np.log((1 + row["spend_per_week_28_days"]) / (1 + row["spend_per_week_182_days"]))
    return (
        row
        | affinity_by_hand(journey, lines, campaign, start, weeks)
        | past_by_hand(journey, household, campaign)
    )


def affinity_by_hand(
    journey: CompleteJourney, lines: pd.DataFrame, campaign: int, start: pd.Timestamp, weeks: float
) -> dict[str, float]:
    own = journey.coupons[journey.coupons["campaign_id"] == campaign]
    matching = lines[lines["product_id"].isin(own["product_id"])]
    recent = matching["transaction_timestamp"] >= start - pd.Timedelta(days=84)
    recent_weeks = max(min((start - FIRST).days, 84) / 7, 1)
    usable = own[own["product_id"].isin(lines["product_id"])]["coupon_upc"].nunique()
    return {
        "coupon_products_bought": matching["product_id"].nunique(),
        "coupons_usable": usable,
        "coupon_product_lines_per_week_84_days": recent.sum() / recent_weeks,
        "coupon_product_lines_per_week": len(matching) / weeks,
        "coupon_product_line_share": len(matching) / max(len(lines), 1),
        "coupon_product_spend_share": matching["sales_value"].sum() / max(lines["sales_value"].sum(), 0.01),
        "coupon_product_spend_per_week": matching["sales_value"].sum() / weeks,
        "coupon_lines_on_products": (matching["coupon_disc"] > 0).sum() / weeks,
        "coupon_saving_on_products": matching["coupon_disc"].sum() / weeks,
    }


def past_by_hand(journey: CompleteJourney, household: int, campaign: int) -> dict[str, float]:
    run = runs(journey)
    start, _, kind = run[campaign]
    sent = set(zip(journey.campaigns["household_id"], journey.campaigns["campaign_id"], strict=True))
    redeemed = [
        (r.household_id, r.campaign_id, r.redemption_date)
        for r in journey.coupon_redemptions.itertuples()
        if (r.household_id, r.campaign_id) in sent
        and run[r.campaign_id][0] <= r.redemption_date <= run[r.campaign_id][1]
    ]
    own_sent = [c for h, c in sent if h == household and run[c][0] < start]
    own_redeemed = [(c, day) for h, c, day in redeemed if h == household and day < start]
    if start <= FIRST:
        own_sent, own_redeemed = [], []
    recently = start - pd.Timedelta(days=84)
    everybody = len({(h, c) for h, c, day in redeemed if day < start}) / max(
        sum(run[c][0] < start for _, c in sent), 1
    )
    converted = {c for c, _ in own_redeemed}
    last = max((max(day, FIRST) for _, day in own_redeemed), default=FIRST)
    return {
        "campaigns_before": len(own_sent),
        "campaigns_redeemed": len(converted),
        "coupons_redeemed": len(own_redeemed),
        "coupons_redeemed_84_days": sum(max(day, FIRST) >= recently for _, day in own_redeemed),
        "campaigns_84_days": sum(max(run[c][0], FIRST) >= recently for c in own_sent),
        "same_type_before": sum(run[c][2] == kind for c in own_sent),
        "same_type_redeemed": sum(run[c][2] == kind for c in converted),
        "own_rate": (len(converted) + PRIOR_CAMPAIGNS * everybody) / (len(own_sent) + PRIOR_CAMPAIGNS),
        "days_since_redemption": max((start - last).days, 0),
        "campaign_days": (run[campaign][1] - start).days,
        "campaign_households": sum(c == campaign for _, c in sent),
        "campaign_coupons": journey.coupons[journey.coupons["campaign_id"] == campaign][
            "coupon_upc"
        ].nunique(),
        "campaign_products": journey.coupons[journey.coupons["campaign_id"] == campaign][
            "product_id"
        ].nunique(),
    }


def test_every_number_equals_the_one_counted_by_hand() -> None:
    some = PAIRS[::2]
    numbers = FEATURES[::2].select_dtypes("number")
    expected = pd.DataFrame(
        [by_hand(JOURNEY, h, c) for h, c in zip(some["household_id"], some["campaign_id"], strict=True)],
        index=some.index,
        dtype=float,
    )
    assert set(expected) == set(numbers)
    assert len(numbers) > 60
    pd.testing.assert_frame_equal(numbers, expected[list(numbers)], atol=1e-9, rtol=1e-9)
    assert (numbers.max() > numbers.min()).all()


def spoilt(journey: CompleteJourney, day: pd.Timestamp, how: str) -> CompleteJourney:
    """The same journey up to `day`; from then on values are shuffled, or rows are gone."""
    rng = np.random.default_rng(1)
    past = journey.transactions["transaction_timestamp"] < day
    lines = journey.transactions.copy()
    redemptions = journey.coupon_redemptions.copy()
    past_redemption = redemptions["redemption_date"] < day
    if how == "deleted":
        return journey._replace(transactions=lines[past], coupon_redemptions=redemptions[past_redemption])
    for frame, is_past in ((lines, past), (redemptions, past_redemption)):
        order = rng.permutation((~is_past).sum())
        for name in frame.columns:
            if name != "coupon_upc":
                frame.loc[~is_past, name] = rng.permutation(frame.loc[~is_past, name].to_numpy())
        frame.loc[~is_past] = frame.loc[~is_past].to_numpy()[order]
    lines["sales_value"] *= np.where(past, 1, 17)
    return journey._replace(
        transactions=lines.astype(journey.transactions.dtypes).sample(frac=1, random_state=2),
        coupon_redemptions=redemptions.astype(journey.coupon_redemptions.dtypes),
    )


@pytest.mark.parametrize("how", ["shuffled", "deleted"])
@pytest.mark.parametrize("campaign", [1, 3, 4, 5])
def test_nothing_of_the_start_date_or_later_changes_a_feature(campaign: int, how: str) -> None:
    day = runs(JOURNEY)[campaign][0]
    rows = PAIRS["campaign_id"] == campaign
    again = campaign_features(spoilt(JOURNEY, day, how), PAIRS[rows])
    pd.testing.assert_frame_equal(again, FEATURES[rows], check_exact=True)


def test_something_just_before_the_start_does_change_them() -> None:
    day = runs(JOURNEY)[3][0]
    rows = PAIRS["campaign_id"] == 3
    again = campaign_features(spoilt(JOURNEY, day - pd.Timedelta(days=40), "shuffled"), PAIRS[rows])
    changed = [name for name in FEATURES if not again[name].equals(FEATURES.loc[rows, name])]
    assert {"spend_per_week_28_days", "own_rate", "days_since_visit", "coupons_usable"} <= set(changed)


def test_order_and_choice_of_rows_do_not_matter() -> None:
    journey = JOURNEY._replace(
        **{name: getattr(JOURNEY, name).sample(frac=1, random_state=3) for name in JOURNEY._fields}
    )
    some = PAIRS.sample(40, random_state=4)
    pd.testing.assert_frame_equal(
        campaign_features(journey, some), FEATURES.loc[some.index], check_exact=True
    )


def test_a_conversion_is_a_redemption_within_the_run_by_somebody_it_was_sent_to() -> None:
    run = runs(JOURNEY)
    inside = {
        (r.household_id, r.campaign_id)
        for r in JOURNEY.coupon_redemptions.itertuples()
        if run[r.campaign_id][0] <= r.redemption_date <= run[r.campaign_id][1]
    }
    expected = [pair in inside for pair in zip(PAIRS["household_id"], PAIRS["campaign_id"], strict=True)]
    assert PAIRS["converted"].tolist() == expected
    assert len(PAIRS) == len(JOURNEY.campaigns)
    assert 0 < PAIRS["converted"].mean() < 0.5
    table = campaign_table(JOURNEY)
    assert table["start_date"].is_monotonic_increasing
    assert table.loc[7, "status"] == "began before the data"
    assert table.loc[8, "status"] == "ends after the data"
    assert set(table.drop([7, 8])["status"]) == {"ok"}
    own = [h for (h, c) in inside if c == 3 and h != 99_999]
    assert table.loc[3, "converted"] == len(own) / table.loc[3, "households"]


def test_a_campaign_without_coupons_has_affinity_zero() -> None:
    rows = FEATURES[PAIRS["campaign_id"] == 6]
    assert len(rows) > 5
    assert (rows[[name for name in FEATURES if name.startswith("coupon_product")]] == 0).all(axis=None)
    assert (rows[["coupons_usable", "campaign_coupons", "campaign_products"]] == 0).all(axis=None)


def test_a_household_never_seen_gets_the_documented_defaults() -> None:
    pairs = pd.DataFrame({"campaign_id": [5, 1], "household_id": [7, 7]})
    row = campaign_features(JOURNEY, pairs).iloc[0]
    assert (
        row["days_since_visit"] == row["days_since_redemption"] == (pd.Timestamp("2017-10-01") - FIRST).days
    )
    assert row["age"] == row["home_ownership"] == "unknown"
    assert row.filter(like="per_week").eq(0).all()
    assert row["campaigns_before"] == 0
    assert 0 < row["own_rate"] < 1  # everybody's rate
    assert FEATURES["age"].isin(["unknown", "35-44"]).all()
    assert FEATURES["age"].nunique() == 2


def test_no_question_has_every_column_and_no_row() -> None:
    assert list(campaign_features(JOURNEY, PAIRS[:0])) == list(FEATURES)


def test_dates_out_of_order_and_unknown_campaigns_are_refused() -> None:
    described = JOURNEY.campaign_descriptions.copy()
    described.loc[described["campaign_id"] == 2, "end_date"] = pd.Timestamp("2017-03-01")
    with pytest.raises(ValueError, match="campaign 2 starts 2017-03-20, ends 2017-03-01"):
        campaign_pairs(JOURNEY._replace(campaign_descriptions=described))
    with pytest.raises(ValueError, match="campaign 2 was sent, but campaign_descriptions does not have it"):
        campaign_pairs(JOURNEY._replace(campaign_descriptions=described.query("campaign_id not in (2, 3)")))
    with pytest.raises(ValueError, match="campaign 44 is not in campaign_descriptions"):
        campaign_features(JOURNEY, pd.DataFrame({"campaign_id": [44], "household_id": [10]}))
    with pytest.raises(ValueError, match="no column 'household_id'"):
        campaign_features(JOURNEY, pd.DataFrame({"campaign_id": [1]}))
