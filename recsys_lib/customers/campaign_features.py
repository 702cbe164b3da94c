"""What was known about a household on the day a campaign began: one row per household and campaign."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_lib.customers.as_of import History, build_history, first_of_each, position, range_sums
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


def campaign_features(journey: CompleteJourney, pairs: pd.DataFrame) -> pd.DataFrame:
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

    Returns
    -------
    pandas.DataFrame
        With the index of `pairs`. Text columns: `campaign_type` and the demographics, "unknown" where nobody
        asked. All others are float64: counts and dollars per week of the time looked back on, shares,
        days. Defaults: a household never seen has counts and shares of 0 and was last seen on the
        first day of the data; a campaign without coupons has affinity 0.
    """
    check_columns(pairs, ["campaign_id", "household_id"])
    table = campaign_table(journey)
    unknown = set(pairs["campaign_id"]) - set(table.index)
    if unknown:
        known = f"the campaigns are {sorted(table.index)}"
        raise ValueError(f"campaign {min(unknown)} is not in campaign_descriptions; {known}")
    asked = _Questions(
        pairs["household_id"].to_numpy(),
        pairs["campaign_id"].to_numpy(),
        table["start_date"].reindex(pairs["campaign_id"]).to_numpy().astype("datetime64[s]"),
        journey.transactions["transaction_timestamp"].min().normalize(),
    )
    lines = _sorted_lines(journey.transactions, asked.first_day)
    columns = _purchases(lines, asked) | _affinity(lines, journey.coupons, asked)
    columns |= _response(journey, table, asked) | _campaign(table, asked)
    people = journey.demographics.set_index("household_id")[list(DEMOGRAPHICS)]
    people = people.reindex(asked.households).fillna(UNKNOWN).astype("str")
    columns |= {name: people[name].to_numpy() for name in people}
    return pd.DataFrame(columns, index=pairs.index)


class _Questions(NamedTuple):
    """Which household, which campaign, which day, row by row; and the first day of the data."""

    households: np.ndarray
    campaigns: np.ndarray
    dates: np.ndarray
    first_day: pd.Timestamp

    def at(self, rows: np.ndarray) -> "_Questions":
        return _Questions(self.households[rows], self.campaigns[rows], self.dates[rows], self.first_day)

    def days(self) -> np.ndarray:
        """Return the days from the first day of the data to each question's."""
        return (self.dates - np.datetime64(self.first_day, "s")) / np.timedelta64(1, "D")

    def weeks(self, window: int | None = None) -> np.ndarray:
        """Return the weeks looked back on: of the window, or of the data where they are fewer; at least 1."""
        elapsed = (self.dates - np.datetime64(self.first_day, "s")) / np.timedelta64(7, "D")
        return np.clip(elapsed, 1, np.inf if window is None else window / 7)

    def since(self, window: int | None = None) -> np.ndarray:
        """Return the first day of the window, or of the data."""
        if window is None:
            return np.full(len(self.dates), np.datetime64(self.first_day, "s"))
        return self.dates - np.timedelta64(window, "D")

    def ranges(self, history: History, window: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return where each household's events of the window begin and end in its history."""
        begin = position(history, self.households, self.since(window))
        return begin, position(history, self.households, self.dates)


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
    columns = {name: transactions[name].to_numpy()[order] for name in _LINE_COLUMNS if name in transactions}
    household, basket = columns["household_id"], columns["basket_id"]
    elapsed = columns["transaction_timestamp"].astype("datetime64[s]") - np.datetime64(first_day, "s")
    amounts = {"lines": np.ones(len(order), np.int64)}
    amounts["baskets"] = first_of_each(basket)
    amounts["weeks"] = first_of_each(household, elapsed // np.timedelta64(7, "D"))
    in_dollars = {"spend": "sales_value", "discount": "retail_disc", "coupon_saving": "coupon_disc"}
    for name, column in in_dollars.items():
        amounts[name] = np.rint(100 * columns[column]).astype(np.int64)  # cents
    amounts["coupon_lines"] = columns["coupon_disc"] > 0
    with_coupon = np.flatnonzero(amounts["coupon_lines"])
    amounts["coupon_baskets"] = np.zeros(len(order), bool)
    amounts["coupon_baskets"][with_coupon] = first_of_each(basket[with_coupon])
    amounts["matched_lines"] = columns["coupon_match_disc"] > 0
    for name in ("on_display", "in_mailer"):
        if name in columns:
            amounts[name] = np.nan_to_num(columns[name]) > 0
    product, products = pd.factorize(columns["product_id"], sort=True)
    new_product = first_of_each(household, product)
    return _Lines(history, product, pd.Index(products), elapsed.astype(np.int64), new_product, amounts)


def _purchases(lines: _Lines, asked: _Questions) -> dict[str, np.ndarray]:
    """Compute recency, frequency, spend, trend, and the habits with discounts and coupons."""
    begin, end = asked.ranges(lines.history)
    today = asked.days()
    last = np.where(end > begin, lines.seconds[np.maximum(end - 1, 0)] / 86_400, 0)
    columns = {
        "days_since_visit": np.maximum(today - last, 0),
        "days_since_coupon": np.maximum(today - _last_coupon(lines, end, begin), 0),
    }
    for window in (*WINDOWS, None):
        begin, _ = asked.ranges(lines.history, window)
        sums = {name: range_sums(amount, begin, end).astype(float) for name, amount in lines.amounts.items()}
        suffix = "" if window is None else f"_{window}_days"
        columns |= {
            f"{name}{suffix}": values for name, values in _habits(sums, asked.weeks(window), window).items()
        }
    weeks = asked.weeks()
    columns["matched_lines_per_week"] = sums["matched_lines"] / weeks
    columns["active_weeks_share"] = sums["weeks"] / np.maximum(np.ceil(weeks), 1)
    columns["spend_per_basket"] = sums["spend"] / 100 / np.maximum(sums["baskets"], 1)
    # One dollar a week on both sides keeps the ratio of two small numbers from exploding.
    now, before = columns["spend_per_week_28_days"], columns["spend_per_week_182_days"]
    columns["spend_trend"] = np.log((1 + now) / (1 + before))
    return columns


def _habits(sums: dict[str, np.ndarray], weeks: np.ndarray, window: int | None) -> dict[str, np.ndarray]:
    """Turn the sums over one window into rates per week and shares."""
    columns = {f"{name}_per_week": sums[name] / weeks for name in ("baskets", "lines", "coupon_lines")}
    columns["spend_per_week"] = sums["spend"] / 100 / weeks
    if window != 28:  # four weeks hold too few baskets with a coupon to count them
        columns["coupon_baskets_per_week"] = sums["coupon_baskets"] / weeks
        columns["coupon_basket_share"] = sums["coupon_baskets"] / np.maximum(sums["baskets"], 1)
    if window in (84, None):
        columns["discount_share"] = sums["discount"] / np.maximum(sums["spend"] + sums["discount"], 1)
        columns["coupon_saving_per_week"] = sums["coupon_saving"] / 100 / weeks
        for name in ("coupon_lines", "on_display", "in_mailer"):
            if name in sums:
                columns[f"{name.removesuffix('_lines')}_share"] = sums[name] / np.maximum(sums["lines"], 1)
    return columns


def _last_coupon(lines: _Lines, end: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Return the day of the last line with a coupon in each range; day 0 where there is none."""
    with_coupon = np.flatnonzero(lines.amounts["coupon_lines"])
    first, last = np.searchsorted(with_coupon, begin), np.searchsorted(with_coupon, end)
    days = np.append(lines.seconds[with_coupon] / 86_400, 0)
    return days[np.where(last > first, last - 1, -1)]


def _affinity(lines: _Lines, coupons: pd.DataFrame, asked: _Questions) -> dict[str, np.ndarray]:
    """Measure how much of what the household bought is what the campaign has coupons for."""
    begin, end = asked.ranges(lines.history)
    recent, _ = asked.ranges(lines.history, 84)
    sums = np.zeros((7, len(end)))
    for campaign in np.unique(asked.campaigns):
        rows = np.flatnonzero(asked.campaigns == campaign)
        promoted = coupons.loc[coupons["campaign_id"] == campaign, ["coupon_upc", "product_id"]]
        ranges = begin[rows], recent[rows], end[rows]
        sums[:, rows] = _sums_on_products(lines, promoted.drop_duplicates(), *ranges)
    products, usable, recently_bought, bought, cents, coupon_lines, saved_cents = sums
    dollars, weeks = cents / 100, asked.weeks()
    all_dollars = np.maximum(range_sums(lines.amounts["spend"], begin, end), 1) / 100
    return {
        "coupon_products_bought": products,
        "coupons_usable": usable,
        "coupon_product_lines_per_week_84_days": recently_bought / asked.weeks(84),
        "coupon_product_lines_per_week": bought / weeks,
        "coupon_product_line_share": bought / np.maximum(end - begin, 1),
        "coupon_product_spend_share": dollars / all_dollars,
        "coupon_product_spend_per_week": dollars / weeks,
        "coupon_lines_on_products": coupon_lines / weeks,
        "coupon_saving_on_products": saved_cents / 100 / weeks,
    }


def _sums_on_products(
    lines: _Lines, promoted: pd.DataFrame, begin: np.ndarray, recent: np.ndarray, end: np.ndarray
) -> list[np.ndarray]:
    """Sum over the lines of one campaign's products, one number per range."""
    wanted = np.zeros(len(lines.products) + 1, bool)
    wanted[lines.products.get_indexer(promoted["product_id"])] = True
    wanted[-1] = False  # where products that nobody bought end up
    kept = np.flatnonzero(wanted[lines.product])
    first, recent, last = (np.searchsorted(kept, places) for places in (begin, recent, end))
    new_product = lines.new_product[kept]  # a product counts once per household
    new = kept[new_product]
    usable = _coupons_usable(lines, promoted, new, np.searchsorted(new, begin), np.searchsorted(new, end))
    amounts = (lines.amounts[name][kept] for name in ("spend", "coupon_lines", "coupon_saving"))
    return [
        range_sums(new_product, first, last), usable, last - recent, last - first,
        *(range_sums(amount, first, last) for amount in amounts),
    ]  # fmt: skip


def _coupons_usable(
    lines: _Lines, promoted: pd.DataFrame, new: np.ndarray, first: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Count the coupons for the products on the lines ``new[first:last]``; one number per range."""
    product = lines.products.get_indexer(promoted["product_id"])
    coupon = pd.factorize(promoted["coupon_upc"])[0]
    bought = product >= 0
    if not bought.any():
        return np.zeros(len(first))
    shape = (len(lines.products), coupon.max() + 1)
    good_for = csr_array((np.ones(bought.sum(), np.int32), (product[bought], coupon[bought])), shape=shape)
    # The ranges end to end: a count per range, and the place of each of its lines.
    counts = last - first
    at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    row = np.repeat(np.arange(len(first)), counts)
    purchases = (np.ones(len(at), np.int32), (row, lines.product[new[at]]))
    baskets = csr_array(purchases, shape=(len(first), shape[0]))
    return np.diff((baskets @ good_for).indptr)


def _response(journey: CompleteJourney, table: pd.DataFrame, asked: _Questions) -> dict[str, np.ndarray]:
    """Count what the household did with earlier campaigns, as far as it was known on the day."""
    sent = journey.campaigns.join(table[["campaign_type", "start_date"]], on="campaign_id")
    redeemed = first_redemptions(journey).join(table[["campaign_type"]], on="campaign_id")
    coupons = redemptions(journey)
    sent_before = _count(sent, "start_date", asked)
    redeemed_before = _count(redeemed, "redemption_date", asked)
    columns = {
        "campaigns_before": sent_before,
        "campaigns_redeemed": redeemed_before,
        "coupons_redeemed": _count(coupons, "redemption_date", asked),
        "coupons_redeemed_84_days": _count(coupons, "redemption_date", asked, window=84),
        "campaigns_84_days": _count(sent, "start_date", asked, window=84),
        "same_type_before": np.zeros(len(asked.dates)),
        "same_type_redeemed": np.zeros(len(asked.dates)),
    }
    types = table["campaign_type"].reindex(asked.campaigns).to_numpy()
    for kind in np.unique(types):
        rows = np.flatnonzero(types == kind)
        same = asked.at(rows)
        columns["same_type_before"][rows] = _count(sent[sent["campaign_type"] == kind], "start_date", same)
        of_kind = redeemed[redeemed["campaign_type"] == kind]
        columns["same_type_redeemed"][rows] = _count(of_kind, "redemption_date", same)
    everybody = _rate_of_all(sent["start_date"], redeemed["redemption_date"], asked.dates)
    columns["own_rate"] = (redeemed_before + PRIOR_CAMPAIGNS * everybody) / (sent_before + PRIOR_CAMPAIGNS)
    columns["days_since_redemption"] = _days_since(coupons, "redemption_date", asked)
    return columns


def _campaign(table: pd.DataFrame, asked: _Questions) -> dict[str, np.ndarray]:
    described = table.reindex(asked.campaigns)
    columns = {"campaign_type": described["campaign_type"].astype("str").to_numpy()}
    columns["campaign_days"] = (described["end_date"] - described["start_date"]).dt.days.to_numpy(float)
    return columns | {
        f"campaign_{name}": described[name].to_numpy(float) for name in ("households", "coupons", "products")
    }


def _count(events: pd.DataFrame, time: str, asked: _Questions, window: int | None = None) -> np.ndarray:
    begin, end = asked.ranges(build_history(events["household_id"], events[time], asked.first_day), window)
    return (end - begin).astype(float)


def _days_since(events: pd.DataFrame, time: str, asked: _Questions) -> np.ndarray:
    """Return the days since the last event, or since the first day of the data."""
    history = build_history(events["household_id"], events[time], asked.first_day)
    begin, end = asked.ranges(history)
    stamps = events[time].to_numpy().astype("datetime64[s]")[history.order]
    elapsed = (stamps - np.datetime64(asked.first_day, "s")) / np.timedelta64(1, "D")
    last = np.append(elapsed, 0)[np.where(end > begin, end - 1, -1)]
    return np.maximum(asked.days() - np.maximum(last, 0), 0)


def _rate_of_all(sent: pd.Series, redeemed: pd.Series, dates: np.ndarray) -> np.ndarray:
    """Return the share of pairs sent before a date that had redeemed before it; 0 while nothing was sent."""
    before = [np.searchsorted(np.sort(times.to_numpy()), dates) for times in (redeemed, sent)]
    return before[0] / np.maximum(before[1], 1)
