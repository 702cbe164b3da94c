"""What was known about a household on the day a campaign began: one row per household and campaign."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_lib.customers.as_of import (
    History,
    build_history,
    first_of_each,
    position,
    running_total,
)
from recsys_lib.customers.campaigns import campaign_table, first_redemptions, redemptions
from recsys_lib.data.complete_journey import CompleteJourney
from recsys_lib.data.households import UNKNOWN
from recsys_lib.data.interactions import check_columns

# Windows of 4, 12 and 26 weeks before the start: the present, the season, the habit.
WINDOWS = (28, 84, 182)
DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "kids_count")
# A household's own rate starts as if it had been sent this many campaigns at everybody's rate.
PRIOR_CAMPAIGNS = 4.0

_LINE_COLUMNS = (
    "household_id", "product_id", "basket_id", "transaction_timestamp", "sales_value", "retail_disc",
    "coupon_disc", "coupon_match_disc", "on_display", "in_mailer",
)  # fmt: skip
TextAffinity = np.ndarray | Callable[[np.ndarray, np.ndarray], np.ndarray]


def campaign_features(
    journey: CompleteJourney, pairs: pd.DataFrame, text_affinity: TextAffinity | None = None
) -> pd.DataFrame:
    """Describe households as of the day their campaign starts: nothing of that day or later is used.

    One pass for all campaigns: lines are sorted by household and time once; sums up to a date are
    differences of running totals, found by binary search.

    Parameters
    ----------
    journey : CompleteJourney
        `transactions` should be cleaned; with `on_display` and `in_mailer` (`prepared_lines`) there are four
        columns more. The order of rows does not matter.
    pairs : pandas.DataFrame
        With columns `campaign_id` and `household_id`, one row per question.
    text_affinity : array (n_pairs,) or function (household_ids, campaign_ids) → array, optional
        Closeness of the household to the campaign's coupons by text, made by the caller from what was known
        before the start. Without it there is no such column.

    Returns
    -------
    pandas.DataFrame
        With the index of `pairs`. Text columns: `campaign_type` and the demographics, "unknown" where nobody
        asked. All others are float64: counts and dollars per week of the time looked back on, shares,
        days. Defaults: a household never seen has counts and shares of 0 and was last seen on the
        first day of the data; a campaign without coupons has affinity 0.

    Raises
    ------
    ValueError
        If a campaign is unknown, `pairs` lacks a column, or the text affinity has another length.
    """
    check_columns(pairs, ["campaign_id", "household_id"])
    table = campaign_table(journey)
    unknown = set(pairs["campaign_id"]) - set(table.index)
    if unknown:
        known = f"the campaigns are {sorted(table.index)}"
        raise ValueError(f"campaign {min(unknown)} is not in campaign_descriptions; {known}")
    ask = _Questions(
        pairs["household_id"].to_numpy(),
        pairs["campaign_id"].to_numpy(),
        table["start_date"].reindex(pairs["campaign_id"]).to_numpy().astype("datetime64[s]"),
        journey.transactions["transaction_timestamp"].min().normalize(),
    )
    lines = _sorted_lines(journey.transactions, ask.first_day)
    columns = _purchases(lines, ask) | _affinity(lines, journey.coupons, ask)
    columns |= _response(journey, table, ask) | _campaign(table, ask)
    if text_affinity is not None:
        columns["text_affinity"] = _text_column(text_affinity, ask)
    people = journey.demographics.set_index("household_id")[list(DEMOGRAPHICS)]
    people = people.reindex(ask.households).fillna(UNKNOWN).astype("str")
    columns |= {name: people[name].to_numpy() for name in people}
    return pd.DataFrame(columns, index=pairs.index)


class _Questions(NamedTuple):
    """Which household, which campaign, which day, row by row; and the first day of the data."""

    households: np.ndarray
    campaigns: np.ndarray
    dates: np.ndarray
    first_day: pd.Timestamp

    def day(self) -> np.ndarray:
        """Days from the first day of the data to the question's."""
        return (self.dates - np.datetime64(self.first_day, "s")) / np.timedelta64(1, "D")

    def weeks(self, window: int | None) -> np.ndarray:
        """Weeks looked back on: of the window, or of the data where they are fewer; at least 1."""
        elapsed = (self.dates - np.datetime64(self.first_day, "s")) / np.timedelta64(7, "D")
        return np.clip(elapsed, 1, np.inf if window is None else window / 7)

    def since(self, window: int | None) -> np.ndarray:
        """The first day of the window."""
        if window is None:
            return np.full(len(self.dates), np.datetime64(self.first_day, "s"))
        return self.dates - np.timedelta64(window, "D")


class _Lines(NamedTuple):
    """Purchase lines in the order of their history, and what is summed over them, as whole numbers."""

    history: History
    product: np.ndarray
    products: pd.Index
    seconds: np.ndarray
    new_product: np.ndarray
    amounts: dict[str, np.ndarray]


def _sorted_lines(transactions: pd.DataFrame, first_day: pd.Timestamp) -> _Lines:
    # Sorted by content first, so that nothing depends on the order of rows in the file.
    content = np.lexsort((transactions["product_id"], transactions["basket_id"]))
    owner, stamp = (transactions[name].to_numpy() for name in ("household_id", "transaction_timestamp"))
    history = build_history(owner[content], stamp[content], first_day)
    order = content[history.order]
    wanted = [name for name in _LINE_COLUMNS if name in transactions]
    columns = {name: transactions[name].to_numpy()[order] for name in wanted}
    household, product = columns["household_id"], columns["product_id"]
    stamps = columns["transaction_timestamp"].astype("datetime64[s]")
    amounts = {"lines": np.ones(len(order), np.int64)}
    amounts["baskets"] = first_of_each(columns["basket_id"])
    week = (stamps - np.datetime64(first_day, "s")) // np.timedelta64(7, "D")
    amounts["weeks"] = first_of_each(household, week)
    for name, column in (
        ("spend", "sales_value"),
        ("discount", "retail_disc"),
        ("coupon_saving", "coupon_disc"),
    ):
        amounts[name] = np.rint(100 * columns[column]).astype(np.int64)  # cents
    amounts["coupon_lines"] = columns["coupon_disc"] > 0
    with_coupon = np.flatnonzero(amounts["coupon_lines"])
    amounts["coupon_baskets"] = np.zeros(len(order), bool)
    amounts["coupon_baskets"][with_coupon] = first_of_each(columns["basket_id"][with_coupon])
    amounts["matched_lines"] = columns["coupon_match_disc"] > 0
    for name in ("on_display", "in_mailer"):
        if name in columns:
            amounts[name] = np.nan_to_num(columns[name]) > 0
    codes, products = pd.factorize(product, sort=True)
    seconds = (stamps - np.datetime64(first_day, "s")).astype(np.int64)
    return _Lines(history, codes, pd.Index(products), seconds, first_of_each(household, product), amounts)


def _purchases(lines: _Lines, ask: _Questions) -> dict[str, np.ndarray]:
    """Recency, frequency, spend, trend, and the habits with discounts and coupons."""
    end = position(lines.history, ask.households, ask.dates)
    begin = {
        window: position(lines.history, ask.households, ask.since(window)) for window in (*WINDOWS, None)
    }
    totals = {name: running_total(values) for name, values in lines.amounts.items()}
    columns: dict[str, np.ndarray] = {}
    seen = end > begin[None]
    today = ask.day()
    last = np.where(seen, lines.seconds[np.maximum(end - 1, 0)] / 86_400, 0)
    columns["days_since_visit"] = np.maximum(today - last, 0)
    columns["days_since_coupon"] = np.maximum(today - _last_coupon(lines, end, begin[None]), 0)
    for window, start in begin.items():
        suffix = "" if window is None else f"_{window}_days"
        sums = {name: (total[end] - total[start]).astype(float) for name, total in totals.items()}
        for name in ("baskets", "lines", "coupon_lines"):
            columns[f"{name}_per_week{suffix}"] = sums[name] / ask.weeks(window)
        columns[f"spend_per_week{suffix}"] = sums["spend"] / 100 / ask.weeks(window)
        if window != 28:  # four weeks hold too few baskets with a coupon to count them
            columns[f"coupon_baskets_per_week{suffix}"] = sums["coupon_baskets"] / ask.weeks(window)
            columns[f"coupon_basket_share{suffix}"] = sums["coupon_baskets"] / np.maximum(sums["baskets"], 1)
        if window in (84, None):
            at_least_one = np.maximum(sums["lines"], 1)
            before_discount = np.maximum(sums["spend"] + sums["discount"], 1)
            columns[f"discount_share{suffix}"] = sums["discount"] / before_discount
            columns[f"coupon_saving_per_week{suffix}"] = sums["coupon_saving"] / 100 / ask.weeks(window)
            for name in ("coupon_lines", "on_display", "in_mailer"):
                if name in sums:
                    columns[f"{name.removesuffix('_lines')}_share{suffix}"] = sums[name] / at_least_one
        if window is None:
            columns["matched_lines_per_week"] = sums["matched_lines"] / ask.weeks(None)
            columns["active_weeks_share"] = sums["weeks"] / np.maximum(np.ceil(ask.weeks(None)), 1)
            columns["spend_per_basket"] = sums["spend"] / 100 / np.maximum(sums["baskets"], 1)
    # One dollar a week on both sides keeps the ratio of two small numbers from exploding.
    now, before = columns["spend_per_week_28_days"], columns["spend_per_week_182_days"]
    columns["spend_trend"] = np.log((1 + now) / (1 + before))
    return columns


def _last_coupon(lines: _Lines, end: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Day of the last line with a coupon in each range; day 0 where there is none."""
    with_coupon = np.flatnonzero(lines.amounts["coupon_lines"])
    first, last = np.searchsorted(with_coupon, begin), np.searchsorted(with_coupon, end)
    days = np.append(lines.seconds[with_coupon] / 86_400, 0)
    return days[np.where(last > first, last - 1, -1)]


def _affinity(lines: _Lines, coupons: pd.DataFrame, ask: _Questions) -> dict[str, np.ndarray]:
    """How much of what the household bought is what the campaign has coupons for."""
    columns = {
        name: np.zeros(len(ask.dates))
        for name in (
            "coupon_products_bought",
            "coupons_usable",
            "coupon_product_lines_per_week_84_days",
            "coupon_product_lines_per_week",
            "coupon_product_line_share",
            "coupon_product_spend_share",
            "coupon_product_spend_per_week",
            "coupon_lines_on_products",
            "coupon_saving_on_products",
        )
    }
    spend = lines.amounts["spend"]
    total_lines, total_spend = np.arange(len(spend) + 1), running_total(spend)
    end = position(lines.history, ask.households, ask.dates)
    recent = position(lines.history, ask.households, ask.since(84))
    begin = position(lines.history, ask.households, ask.since(None))
    for campaign in np.unique(ask.campaigns):
        rows = np.flatnonzero(ask.campaigns == campaign)
        own = coupons.loc[coupons["campaign_id"] == campaign, ["coupon_upc", "product_id"]].drop_duplicates()
        wanted = np.zeros(len(lines.products) + 1, bool)
        wanted[lines.products.get_indexer(own["product_id"])] = True
        wanted[-1] = False  # where products that nobody bought end up
        matches = wanted[lines.product]
        counted, worth = running_total(matches), running_total(np.where(matches, spend, 0))
        new = running_total(matches & lines.new_product)
        used = running_total(matches & lines.amounts["coupon_lines"])
        saved = running_total(np.where(matches, lines.amounts["coupon_saving"], 0))
        e, r, b = end[rows], recent[rows], begin[rows]
        found = (counted[e] - counted[b]).astype(float)
        dollars = (worth[e] - worth[b]) / 100
        columns["coupon_products_bought"][rows] = new[e] - new[b]
        columns["coupon_product_lines_per_week_84_days"][rows] = (counted[e] - counted[r]) / ask.weeks(84)[
            rows
        ]
        columns["coupon_product_lines_per_week"][rows] = found / ask.weeks(None)[rows]
        columns["coupon_product_line_share"][rows] = found / np.maximum(total_lines[e] - total_lines[b], 1)
        everything = np.maximum(total_spend[e] - total_spend[b], 1) / 100
        columns["coupon_product_spend_share"][rows] = dollars / everything
        columns["coupon_product_spend_per_week"][rows] = dollars / ask.weeks(None)[rows]
        columns["coupon_lines_on_products"][rows] = (used[e] - used[b]) / ask.weeks(None)[rows]
        columns["coupon_saving_on_products"][rows] = (saved[e] - saved[b]) / 100 / ask.weeks(None)[rows]
        columns["coupons_usable"][rows] = _coupons_usable(lines, own, matches, b, e)
    return columns


def _coupons_usable(
    lines: _Lines, own: pd.DataFrame, matches: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Count the coupons of which the household has bought at least one product; one number per range."""
    product = lines.products.get_indexer(own["product_id"])
    coupon = pd.factorize(own["coupon_upc"])[0]
    bought = product >= 0
    if not bought.any():
        return np.zeros(len(begin))
    shape = (len(lines.products), coupon.max() + 1)
    good_for = csr_array((np.ones(bought.sum(), np.int32), (product[bought], coupon[bought])), shape=shape)
    kept = np.flatnonzero(matches & lines.new_product)  # a product counts once per household
    first, last = np.searchsorted(kept, begin), np.searchsorted(kept, end)
    counts = last - first
    at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    row = np.repeat(np.arange(len(begin)), counts)
    baskets = csr_array(
        (np.ones(len(at), np.int32), (row, lines.product[kept[at]])), shape=(len(begin), shape[0])
    )
    return np.diff((baskets @ good_for).indptr).astype(float)


def _response(journey: CompleteJourney, table: pd.DataFrame, ask: _Questions) -> dict[str, np.ndarray]:
    """What the household did with the campaigns it was sent before, as far as it was known on the day."""
    sent = journey.campaigns.join(table[["campaign_type", "start_date"]], on="campaign_id")
    redeemed = first_redemptions(journey).join(table[["campaign_type"]], on="campaign_id")
    coupons = redemptions(journey)
    own_type = table["campaign_type"].reindex(ask.campaigns).to_numpy()
    sent_before = _count(sent, "start_date", ask)
    redeemed_before = _count(redeemed, "redemption_date", ask)
    columns = {"campaigns_before": sent_before, "campaigns_redeemed": redeemed_before}
    columns["coupons_redeemed"] = _count(coupons, "redemption_date", ask)
    columns["coupons_redeemed_84_days"] = _count(coupons, "redemption_date", ask, window=84)
    columns["campaigns_84_days"] = _count(sent, "start_date", ask, window=84)
    for name in ("same_type_before", "same_type_redeemed"):
        columns[name] = np.zeros(len(ask.dates))
    for kind in np.unique(own_type):
        rows = np.flatnonzero(own_type == kind)
        some = _Questions(ask.households[rows], ask.campaigns[rows], ask.dates[rows], ask.first_day)
        columns["same_type_before"][rows] = _count(sent[sent["campaign_type"] == kind], "start_date", some)
        of_kind = redeemed[redeemed["campaign_type"] == kind]
        columns["same_type_redeemed"][rows] = _count(of_kind, "redemption_date", some)
    everybody = _rate_of_all(sent["start_date"], redeemed["redemption_date"], ask.dates)
    columns["own_rate"] = (redeemed_before + PRIOR_CAMPAIGNS * everybody) / (sent_before + PRIOR_CAMPAIGNS)
    columns["days_since_redemption"] = _days_since(coupons, "redemption_date", ask)
    return columns


def _campaign(table: pd.DataFrame, ask: _Questions) -> dict[str, np.ndarray]:
    own = table.reindex(ask.campaigns)
    columns = {"campaign_type": own["campaign_type"].astype("str").to_numpy()}
    columns["campaign_days"] = (own["end_date"] - own["start_date"]).dt.days.to_numpy(float)
    for name in ("households", "coupons", "products"):
        columns[f"campaign_{name}"] = own[name].to_numpy(float)
    return columns


def _text_column(affinity: TextAffinity, ask: _Questions) -> np.ndarray:
    values = affinity(ask.households, ask.campaigns) if callable(affinity) else affinity
    values = np.asarray(values, dtype=np.float64)
    if values.shape != ask.dates.shape:
        raise ValueError(f"text_affinity has shape {values.shape}, one number per pair is {ask.dates.shape}")
    return values


def _count(events: pd.DataFrame, time: str, ask: _Questions, window: int | None = None) -> np.ndarray:
    history = build_history(events["household_id"], events[time], ask.first_day)
    begin = position(history, ask.households, ask.since(window))
    return (position(history, ask.households, ask.dates) - begin).astype(float)


def _days_since(events: pd.DataFrame, time: str, ask: _Questions) -> np.ndarray:
    """Days since the last event, or since the first day of the data."""
    history = build_history(events["household_id"], events[time], ask.first_day)
    end = position(history, ask.households, ask.dates)
    begin = position(history, ask.households, ask.since(None))
    today = ask.day()
    stamps = events[time].to_numpy().astype("datetime64[s]")[history.order]
    elapsed = (stamps - np.datetime64(ask.first_day, "s")) / np.timedelta64(1, "D")
    last = np.append(elapsed, 0)[np.where(end > begin, end - 1, -1)]
    return np.maximum(today - np.maximum(last, 0), 0)


def _rate_of_all(sent: pd.Series, redeemed: pd.Series, dates: np.ndarray) -> np.ndarray:
    """Share of all pairs sent before a date that had redeemed before it; 0 while nothing was sent."""
    before = [np.searchsorted(np.sort(times.to_numpy()), dates) for times in (redeemed, sent)]
    return before[0] / np.maximum(before[1], 1)
