"""What was known about a household on the day a campaign began: one row per household and campaign."""

import numpy as np
import pandas as pd

from recsys_lib.customers.campaigns import campaign_table, first_redemptions, redemptions
from recsys_lib.data.complete_journey import CompleteJourney
from recsys_lib.data.households import UNKNOWN
from recsys_lib.data.interactions import check_columns

# Windows of 4, 12 and 26 weeks before the start: the present, the season, the habit.
WINDOWS = (28, 84, 182)
DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "kids_count")
# A household's own rate starts as if it had been sent this many campaigns at everybody's rate.
PRIOR_CAMPAIGNS = 4.0
_ON_PRODUCTS = ["lines", "spend", "coupon_lines", "coupon_saving"]  # summed over a campaign's products
_DAY = pd.Timedelta(days=1)


def campaign_features(journey: CompleteJourney, pairs: pd.DataFrame) -> pd.DataFrame:
    """Describe households as of the day their campaign starts: nothing of that day or later is used.

    Lines are summed by household and day once; each campaign then looks at the days before its own.

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
    past = _Past(journey, table)
    campaigns = pairs["campaign_id"].to_numpy()
    households = pd.Index(pairs["household_id"], name="household_id")
    parts, rows = [], []
    for campaign in pd.unique(campaigns) if len(campaigns) else table.index[:1]:
        places = np.flatnonzero(campaigns == campaign)
        parts.append(past.describe(campaign, households[places]))
        rows.append(places)
    people = journey.demographics.set_index("household_id")[list(DEMOGRAPHICS)]
    people = people.reindex(households).fillna(UNKNOWN).astype("str").set_axis(pairs.index)
    order = np.argsort(np.concatenate(rows))
    return pd.concat(parts).iloc[order].set_axis(pairs.index).join(people)


class _Past:
    """Everything that happened, with its day, in tables that a campaign cuts off at its start."""

    def __init__(self, journey: CompleteJourney, table: pd.DataFrame) -> None:
        self.campaigns = table
        self.first_day = journey.transactions["transaction_timestamp"].min().normalize()
        lines = _lines(journey.transactions, self.first_day)
        self.days = _days(lines)
        self.promoted = journey.coupons[["campaign_id", "coupon_upc", "product_id"]].drop_duplicates()
        on_them = lines["product_id"].isin(self.promoted["product_id"])
        self.lines = lines.loc[on_them, ["household_id", "product_id", "day", *_ON_PRODUCTS]]
        kinds = table["campaign_type"]
        self.sent = journey.campaigns.join(table["start_date"].rename("time"), on="campaign_id")
        self.redeemed = first_redemptions(journey).rename(columns={"redemption_date": "time"})
        self.coupons = redemptions(journey).rename(columns={"redemption_date": "time"})
        for events in (self.sent, self.redeemed, self.coupons):
            events["kind"] = events["campaign_id"].map(kinds)
            events["day"] = events["time"].clip(lower=self.first_day)  # what came before the data counts, too

    def describe(self, campaign: int, households: pd.Index) -> pd.DataFrame:
        """Compute the features of a campaign's households, a row each."""
        start = self.campaigns.loc[campaign, "start_date"].normalize()
        columns = self._purchases(start, households) | self._affinity(campaign, start, households)
        columns |= self._response(campaign, start, households) | self._campaign(campaign)
        return pd.DataFrame(columns, households)

    def _weeks(self, start: pd.Timestamp, window: int | None = None) -> float:
        """Return the weeks looked back on: of the window, or of the data where they are fewer; at least 1."""
        elapsed = (start - self.first_day) / _DAY / 7
        return max(min(elapsed, np.inf if window is None else window / 7), 1.0)

    def _days_since(self, last: pd.Series, start: pd.Timestamp, households: pd.Index) -> pd.Series:
        """Return the days since the last moment of each household, or since the first day of the data."""
        last = last.reindex(households, fill_value=self.first_day).clip(lower=self.first_day)
        return ((start - self.first_day) / _DAY - (last - self.first_day) / _DAY).clip(lower=0)

    def _purchases(self, start: pd.Timestamp, households: pd.Index) -> dict[str, pd.Series]:
        """Compute recency, frequency, spend, trend, and the habits with discounts and coupons."""
        before = _before(self.days, start)
        with_coupon = before[before["coupon_lines"] > 0]
        columns = {
            f"days_since_{what}": self._days_since(
                some.groupby("household_id")["last"].max(), start, households
            )
            for what, some in (("visit", before), ("coupon", with_coupon))
        }
        amounts = [name for name in self.days if name not in ("household_id", "day", "last")]
        for window in (*WINDOWS, None):
            sums = _before(before, start, window).groupby("household_id")[amounts].sum()
            sums = sums.reindex(households, fill_value=0).astype(float)
            suffix = "" if window is None else f"_{window}_days"
            habits = _habits(sums, self._weeks(start, window), window)
            columns |= {f"{name}{suffix}": values for name, values in habits.items()}
        weeks = self._weeks(start)
        columns["matched_lines_per_week"] = sums["matched_lines"] / weeks
        columns["active_weeks_share"] = sums["weeks"] / np.ceil(weeks)
        columns["spend_per_basket"] = sums["spend"] / 100 / np.maximum(sums["baskets"], 1)
        # One dollar a week on both sides keeps the ratio of two small numbers from exploding.
        now, usual = columns["spend_per_week_28_days"], columns["spend_per_week_182_days"]
        columns["spend_trend"] = np.log((1 + now) / (1 + usual))
        return columns

    def _affinity(self, campaign: int, start: pd.Timestamp, households: pd.Index) -> dict[str, pd.Series]:
        """Measure how much of what the household bought is what the campaign has coupons for."""
        own = self.promoted[self.promoted["campaign_id"] == campaign]
        lines = _before(self.lines, start)
        lines = lines[lines["household_id"].isin(households) & lines["product_id"].isin(own["product_id"])]
        fits = lines[["household_id", "product_id"]].drop_duplicates().merge(own)
        recent = _before(lines, start, 84)
        bought = lines.groupby("household_id")[_ON_PRODUCTS].sum()
        bought["products"] = fits.groupby("household_id")["product_id"].nunique()
        bought["usable"] = fits.groupby("household_id")["coupon_upc"].nunique()
        bought["recent"] = recent.groupby("household_id").size()
        bought = bought.reindex(households).fillna(0).astype(float)
        every = _before(self.days, start).groupby("household_id")[["lines", "spend"]].sum()
        every = every.reindex(households, fill_value=0).clip(lower=1)
        dollars, weeks = bought["spend"] / 100, self._weeks(start)
        return {
            "coupon_products_bought": bought["products"],
            "coupons_usable": bought["usable"],
            "coupon_product_lines_per_week_84_days": bought["recent"] / self._weeks(start, 84),
            "coupon_product_lines_per_week": bought["lines"] / weeks,
            "coupon_product_line_share": bought["lines"] / every["lines"],
            "coupon_product_spend_share": dollars / (every["spend"] / 100),
            "coupon_product_spend_per_week": dollars / weeks,
            "coupon_lines_on_products": bought["coupon_lines"] / weeks,
            "coupon_saving_on_products": bought["coupon_saving"] / 100 / weeks,
        }

    def _response(self, campaign: int, start: pd.Timestamp, households: pd.Index) -> dict[str, pd.Series]:
        """Count what the household did with earlier campaigns, as far as it was known on the day."""

        def count(events: pd.DataFrame, window: int | None = None) -> pd.Series:
            counts = _before(events, start, window)["household_id"].value_counts()
            return counts.reindex(households, fill_value=0).astype(float)

        kind = self.campaigns.loc[campaign, "campaign_type"]
        sent, redeemed = count(self.sent), count(self.redeemed)
        everybody = (self.redeemed["time"] < start).sum() / max((self.sent["time"] < start).sum(), 1)
        last = _before(self.coupons, start).groupby("household_id")["day"].max()
        return {
            "campaigns_before": sent,
            "campaigns_redeemed": redeemed,
            "coupons_redeemed": count(self.coupons),
            "coupons_redeemed_84_days": count(self.coupons, 84),
            "campaigns_84_days": count(self.sent, 84),
            "same_type_before": count(self.sent[self.sent["kind"] == kind]),
            "same_type_redeemed": count(self.redeemed[self.redeemed["kind"] == kind]),
            "own_rate": (redeemed + PRIOR_CAMPAIGNS * everybody) / (sent + PRIOR_CAMPAIGNS),
            "days_since_redemption": self._days_since(last, start, households),
        }

    def _campaign(self, campaign: int) -> dict[str, object]:
        own = self.campaigns.loc[campaign]
        counts = {f"campaign_{name}": float(own[name]) for name in ("households", "coupons", "products")}
        days = float((own["end_date"] - own["start_date"]).days)
        return {"campaign_type": own["campaign_type"], "campaign_days": days} | counts


def _before(events: pd.DataFrame, start: pd.Timestamp, window: int | None = None) -> pd.DataFrame:
    """Keep what happened before a day, or in the days of a window before it."""
    inside = events["day"] < start
    return events[inside if window is None else inside & (events["day"] >= start - window * _DAY)]


def _lines(transactions: pd.DataFrame, first_day: pd.Timestamp) -> pd.DataFrame:
    """Describe each purchase line by whole numbers (counts, cents), whose sums have no rounding."""
    lines = transactions.sort_values("transaction_timestamp", ignore_index=True)
    stamps = lines["transaction_timestamp"].dt.floor("s")
    described = lines[["household_id", "product_id"]].assign(last=stamps, day=stamps.dt.normalize(), lines=1)
    week = (stamps - first_day) // (7 * _DAY)
    coupon = lines["coupon_disc"] > 0
    # The first line of a basket, and of a week, stands for it.
    described["baskets"] = ~lines["basket_id"].duplicated()
    described["weeks"] = ~pd.DataFrame({"household": lines["household_id"], "week": week}).duplicated()
    in_dollars = {"spend": "sales_value", "discount": "retail_disc", "coupon_saving": "coupon_disc"}
    for name, column in in_dollars.items():
        described[name] = np.rint(100 * lines[column]).astype(np.int64)
    described["coupon_lines"] = coupon
    described["coupon_baskets"] = (
        coupon & ~pd.DataFrame({"basket": lines["basket_id"], "coupon": coupon}).duplicated()
    )
    described["matched_lines"] = lines["coupon_match_disc"] > 0
    for name in ("on_display", "in_mailer"):
        if name in lines:
            described[name] = lines[name] > 0
    return described


def _days(lines: pd.DataFrame) -> pd.DataFrame:
    """Sum lines by household and day, apart with and without a coupon; `last` is the last moment."""
    keys = [lines["household_id"], lines["day"], lines["coupon_lines"].rename("with_coupon")]
    groups = lines.drop(columns=["household_id", "day", "product_id"]).groupby(keys)
    days = groups.agg({name: "max" if name == "last" else "sum" for name in groups.obj})
    return days.reset_index(["household_id", "day"])


def _habits(sums: pd.DataFrame, weeks: float, window: int | None) -> dict[str, pd.Series]:
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
