"""One row per household: what the shop, the mailer, the coupons and the questionnaire know about it."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from recsys_lib.data.complete_journey import CompleteJourney, complete_journey_folder
from recsys_lib.data.interactions import check_columns

UNKNOWN = "unknown"


def between(
    journey: CompleteJourney, begin: str | pd.Timestamp | None = None, end: str | pd.Timestamp | None = None
) -> CompleteJourney:
    """Keep what happened in [begin, end): purchases, redeemed coupons, invitations to campaigns.

    Products, questionnaires, and which campaigns were planned carry no date of their own, and stay.

    Parameters
    ----------
    journey : CompleteJourney
        Its `transactions` may have more columns, and fewer rows, than the shop's.
    begin, end : str or pandas.Timestamp, optional
        Without one there is no limit on that side. An invitation happens when its campaign starts.

    Examples
    --------
    >>> from recsys_lib.data import load_complete_journey
    >>> december = between(load_complete_journey(), "2017-12-01")
    >>> print(f"{december.coupon_redemptions['redemption_date'].min():%d %B}")
    01 December
    """
    starts = journey.campaign_descriptions.set_index("campaign_id")["start_date"]
    dated = {
        "transactions": journey.transactions["transaction_timestamp"],
        "coupon_redemptions": journey.coupon_redemptions["redemption_date"],
        "campaigns": journey.campaigns["campaign_id"].map(starts),
    }
    kept = {}
    for name, stamps in dated.items():
        inside = np.ones(len(stamps), bool)
        if begin is not None:
            inside &= (stamps >= pd.Timestamp(begin)).to_numpy()
        if end is not None:
            inside &= (stamps < pd.Timestamp(end)).to_numpy()
        kept[name] = getattr(journey, name)[inside]
    return journey._replace(**kept)


def assert_no_future(
    build: Callable[[CompleteJourney], pd.DataFrame], journey: CompleteJourney, day: str | pd.Timestamp
) -> None:
    """Build a table twice, with and without all that happened from a day on: nothing may change.

    Parameters
    ----------
    build : function
        Makes the table from the tables it is given, and from nothing else.
    journey : CompleteJourney
        All that is known today, later things included.
    day : str or pandas.Timestamp
        The moment of which the table should be.

    Raises
    ------
    AssertionError
        With the columns that know the future, or the number of rows that are there only because of it.
    ValueError
        If the table stays the same, too, when the four weeks *before* the day are taken away: then `build`
        does not read what it is given, and the check could not fail.
    """
    day = pd.Timestamp(day)
    whole, known = build(journey), build(between(journey, end=day))
    if whole.equals(build(between(journey, end=day - pd.Timedelta(weeks=4)))):
        raise ValueError(
            f"build gives the same table without the four weeks before {day}: it does not read its argument"
        )
    if not whole.index.equals(known.index):
        different = len(whole.index.symmetric_difference(known.index))
        raise AssertionError(f"{different} rows depend on what happened from {day} on, or their order does")
    names = dict.fromkeys([*whole, *known])
    leaks = [str(name) for name in names if not (name in whole and whole[name].equals(known.get(name)))]
    if leaks:
        raise AssertionError(f"these columns know what happened from {day} on: {', '.join(leaks)}")


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
        out.

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
    journey = between(journey, end=as_of)
    view = _purchases(journey.transactions, as_of)
    if promoted is not None:
        households = journey.transactions["household_id"]
        shares = promoted.loc[households.index].groupby(households).mean()
        view["display_share"], view["mailer_share"] = shares["on_display"], shares["in_mailer"]
    for name, table in (("campaigns", journey.campaigns), ("coupons_redeemed", journey.coupon_redemptions)):
        counts = table["household_id"].value_counts()
        view[name] = counts.reindex(view.index, fill_value=0).to_numpy()
    view["has_demographics"] = view.index.isin(journey.demographics["household_id"])
    return view.join(journey.demographics.set_index("household_id").reindex(view.index).fillna(UNKNOWN))


def promotion_flags(transactions: pd.DataFrame) -> pd.DataFrame:
    """Say of each purchase line whether its product stood on display or in the mailer, there and then.

    The 20.9 million promotion rows pass by once, batch by batch; only those that meet a line are kept. The
    lines need the columns `week`, `store_id` and `product_id`; the table returned has their index, and the
    columns `on_display` and `in_mailer`: 1 or 0 (float32).
    """
    keys = ["week", "store_id", "product_id"]
    check_columns(transactions, keys)
    codes, places = pd.factorize(_key(*(transactions[name].to_numpy() for name in keys)))
    found = {"on_display": np.zeros(len(places), bool), "in_mailer": np.zeros(len(places), bool)}
    places = pd.Index(places)
    path = complete_journey_folder() / "promotions.parquet"
    names = {"on_display": "display_location", "in_mailer": "mailer_location"}
    for batch in pq.ParquetFile(path, read_dictionary=list(names.values())).iter_batches(1_000_000):
        at = places.get_indexer(_key(*(batch[name].to_numpy() for name in keys)))
        for flag, column in names.items():
            values = batch[column]
            # "0" is the code for "not there".
            there = (values.dictionary.to_numpy(zero_copy_only=False) != "0")[values.indices.to_numpy()]
            found[flag][at[there & (at >= 0)]] = True
    flags = {name: found[name][codes].astype(np.float32) for name in names}
    return pd.DataFrame(flags, index=transactions.index)


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
