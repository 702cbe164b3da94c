"""One row per household: what the shop, the mailer, the coupons and the questionnaire know about it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from recsys_lib.data.complete_journey import CompleteJourney, complete_journey_folder
from recsys_lib.data.interactions import check_columns

UNKNOWN = "unknown"


def household_view(
    journey: CompleteJourney, as_of: str | pd.Timestamp, promoted: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Join all channels into one row per household, with nothing in it that happened on or after `as_of`.

    Parameters
    ----------
    journey : CompleteJourney
        `transactions` should be cleaned already; households without any line before `as_of` have no row.
    as_of : str or pandas.Timestamp
        The moment the view is taken.
    promoted : pandas.DataFrame, optional
        What `promotion_flags` gave for `journey.transactions`; without it the two promotion shares are left
        out. Lines it does not judge (NaN) do not count.

    Returns
    -------
    pandas.DataFrame
        Indexed by household_id, sorted. Purchases: `lines`, `baskets`, `products`, `stores`, `spend` (US
        dollars), `days_since_last`, `days_since_first`, `spend_per_basket`, `discount_share` (loyalty-card
        discount over the price before it). Promotions: `display_share`, `mailer_share` (of the lines).
        Coupons: `campaigns`, `coupons_redeemed`. Demographics, with "unknown" as a value of its own, and
        `has_demographics`.
    """
    as_of = pd.Timestamp(as_of)
    before = (journey.transactions["transaction_timestamp"] < as_of).to_numpy()
    lines = journey.transactions[before]
    view = _purchases(lines, as_of)
    if promoted is not None:
        shares = promoted[before].groupby(lines["household_id"]).mean()
        view["display_share"], view["mailer_share"] = shares["on_display"], shares["in_mailer"]
    return _demographics(_coupons(view, journey, as_of), journey.demographics)


def promotion_flags(
    transactions: pd.DataFrame, weeks: range = range(1, 54), folder: str | Path | None = None
) -> pd.DataFrame:
    """Say of each purchase line whether its product stood on display or in the mailer, there and then.

    The 20.9 million promotion rows pass by once, batch by batch; only those that meet a line are kept.

    Parameters
    ----------
    transactions : pandas.DataFrame
        With columns `week`, `store_id` and `product_id`.
    weeks : range
        Weeks to judge; lines of other weeks get NaN.
    folder : str or Path, optional
        As in `load_complete_journey`.

    Returns
    -------
    pandas.DataFrame
        With the index of `transactions`; columns `on_display` and `in_mailer`: 1, 0 or NaN (float32).
    """
    keys = ["week", "store_id", "product_id"]
    check_columns(transactions, keys)
    judged = transactions["week"].isin(weeks).to_numpy()
    codes, places = pd.factorize(_key(*(transactions[name].to_numpy() for name in keys))[judged])
    found = {"on_display": np.zeros(len(places), bool), "in_mailer": np.zeros(len(places), bool)}
    places = pd.Index(places)
    path = Path(folder or complete_journey_folder()) / "promotions.parquet"
    names = {"on_display": "display_location", "in_mailer": "mailer_location"}
    for batch in pq.ParquetFile(path, read_dictionary=list(names.values())).iter_batches(1_000_000):
        at = places.get_indexer(_key(*(batch[name].to_numpy() for name in keys)))
        for flag, column in names.items():
            values = batch[column]
            # "0" is the code for "not there".
            there = (values.dictionary.to_numpy(zero_copy_only=False) != "0")[values.indices.to_numpy()]
            found[flag][at[there & (at >= 0)]] = True
    flags = np.full((len(transactions), 2), np.nan, np.float32)
    flags[judged] = np.column_stack([found[name][codes] for name in names])
    return pd.DataFrame(flags, index=transactions.index, columns=list(names))


def _key(week: np.ndarray, store: np.ndarray, product: np.ndarray) -> np.ndarray:
    # Products fit into 25 bits, stores into 17: one int64 names a product in a shop in a week.
    return (week.astype(np.int64) << 42) | (store << 25) | product


def _purchases(lines: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    groups = lines.groupby("household_id")
    view = groups.agg(
        lines=("product_id", "size"),
        baskets=("basket_id", "nunique"),
        products=("product_id", "nunique"),
        stores=("store_id", "nunique"),
        spend=("sales_value", "sum"),
        first=("transaction_timestamp", "min"),
        last=("transaction_timestamp", "max"),
        discount=("retail_disc", "sum"),
    )
    for name in ("last", "first"):
        view[f"days_since_{name}"] = (as_of - view.pop(name)).dt.days
    view["spend_per_basket"] = view["spend"] / view["baskets"]
    discount = view.pop("discount")
    view["discount_share"] = discount / (view["spend"] + discount)
    return view


def _coupons(view: pd.DataFrame, journey: CompleteJourney, as_of: pd.Timestamp) -> pd.DataFrame:
    starts = journey.campaign_descriptions.set_index("campaign_id")["start_date"]
    sent = journey.campaigns[journey.campaigns["campaign_id"].map(starts) < as_of]
    redeemed = journey.coupon_redemptions[journey.coupon_redemptions["redemption_date"] < as_of]
    for name, table in (("campaigns", sent), ("coupons_redeemed", redeemed)):
        counts = table["household_id"].value_counts()
        view[name] = counts.reindex(view.index, fill_value=0).to_numpy()
    return view


def _demographics(view: pd.DataFrame, demographics: pd.DataFrame) -> pd.DataFrame:
    view["has_demographics"] = view.index.isin(demographics["household_id"])
    return view.join(demographics.set_index("household_id").reindex(view.index).fillna(UNKNOWN))
