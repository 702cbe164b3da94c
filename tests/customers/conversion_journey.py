"""A small made-up Complete Journey, in which every feature can be counted by hand."""

import numpy as np
import pandas as pd

from recsys_lib.data import CompleteJourney

FIRST, DAYS = pd.Timestamp("2017-01-01"), 365
CAMPAIGNS = [  # id, type, start, end; 6 has no coupons, 7 began before the data, 8 ends after them
    (1, "Type A", "2017-03-01", "2017-04-10"),
    (2, "Type B", "2017-03-20", "2017-05-01"),
    (3, "Type A", "2017-06-01", "2017-07-15"),
    (4, "Type C", "2017-06-01", "2017-06-30"),
    (5, "Type B", "2017-10-01", "2017-11-15"),
    (6, "Type B", "2017-09-01", "2017-10-01"),
    (7, "Type A", "2016-12-01", "2017-01-20"),
    (8, "Type C", "2017-12-10", "2018-01-20"),
]


def make_journey(seed: int = 0, n_households: int = 25, n_lines: int = 4_000) -> CompleteJourney:
    """Random purchases, campaigns, coupons and redemptions; household ids are 10, 20, …"""
    rng = np.random.default_rng(seed)
    households, products = 10 * np.arange(1, n_households + 1), np.arange(100, 160)
    basket = rng.integers(0, n_lines // 4, n_lines)
    owner, second = rng.choice(households, n_lines // 4), rng.integers(0, DAYS * 86_400, n_lines // 4)
    # Some baskets are paid in the very second in which campaigns 3 and 5 start: no longer the past.
    second[:40] = (pd.Timestamp("2017-06-01") - FIRST) // pd.Timedelta(seconds=1)
    second[40:80] = (pd.Timestamp("2017-10-01") - FIRST) // pd.Timedelta(seconds=1)
    transactions = pd.DataFrame(
        {
            "household_id": owner[basket],
            "store_id": 1,
            "basket_id": basket,
            "product_id": rng.choice(products, n_lines),
            "quantity": 1,
            "sales_value": rng.integers(50, 2_000, n_lines) / 100,
            "retail_disc": rng.integers(0, 300, n_lines) / 100,
            "coupon_disc": np.where(rng.random(n_lines) < 0.1, 0.5, 0.0),
            "coupon_match_disc": np.where(rng.random(n_lines) < 0.05, 0.25, 0.0),
            "week": 1,
            "transaction_timestamp": (FIRST + pd.to_timedelta(second[basket], unit="s")).as_unit("ns"),
            "on_display": rng.choice([0, 1, np.nan], n_lines),
            "in_mailer": rng.choice([0, 1, np.nan], n_lines),
        }
    )
    described = pd.DataFrame(CAMPAIGNS, columns=["campaign_id", "campaign_type", "start_date", "end_date"])
    for name in ("start_date", "end_date"):
        described[name] = pd.to_datetime(described[name]).dt.as_unit("ns")
    sent = [(c, h) for c in described["campaign_id"] for h in households if rng.random() < 0.7]
    campaigns = pd.DataFrame(sent, columns=["campaign_id", "household_id"])
    with_coupons = [c for c in described["campaign_id"] if c != 6]
    coupons = pd.DataFrame(
        [(1_000 * c + k, p, c) for c in with_coupons for k in range(4) for p in rng.choice(products, 3)],
        columns=["coupon_upc", "product_id", "campaign_id"],
    )
    coupons = pd.concat(
        [coupons, coupons.head(5), pd.DataFrame([(1_001, 9_999, 1)], columns=coupons.columns)]
    )
    return CompleteJourney(
        transactions,
        pd.DataFrame({"product_id": products}),
        _demographics(households[::2]),
        campaigns.sample(frac=1, random_state=seed),
        described,
        coupons,
        _redemptions(campaigns, described, rng),
    )


def _redemptions(campaigns: pd.DataFrame, described: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    starts = described.set_index("campaign_id")["start_date"].reindex(campaigns["campaign_id"]).to_numpy()
    some = rng.random(len(campaigns)) < 0.5
    frame = campaigns[some].assign(coupon_upc=1_000 * campaigns["campaign_id"] + 1)
    # Some fall outside the campaign's run; those are no conversions.
    frame["redemption_date"] = starts[some] + rng.integers(-10, 60, len(frame)).astype("timedelta64[D]")
    # Somebody redeems twice, and somebody who was not sent the campaign redeems too.
    stray = pd.DataFrame(
        {
            "household_id": [99_999],
            "campaign_id": [1],
            "coupon_upc": [1_001],
            "redemption_date": [pd.Timestamp("2017-03-05")],
        }
    )
    frame = pd.concat([frame, frame.head(6), stray], ignore_index=True)
    frame["redemption_date"] = frame["redemption_date"].dt.as_unit("ns")
    return frame[["household_id", "coupon_upc", "campaign_id", "redemption_date"]]


def _demographics(households: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"household_id": households, "age": "35-44", "income": "50-74K"})
    frame["home_ownership"] = pd.Series([None, "Homeowner"] * len(frame)).head(len(frame))
    for name in ("marital_status", "household_size", "household_comp", "kids_count"):
        frame[name] = "1"
    return frame
