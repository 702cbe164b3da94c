"""Loyalty from visits: recency, frequency and spend; gaps; churn, with features as of a date.

Everything starts from `visits`, the table of `visit_days`: a row per household and day, on the shops' clocks.
Periods run from `start`, a day such as "2017-07-01", until the day before `end`. Tables about households are
indexed by household_id, sorted.
"""

import numpy as np
import pandas as pd

from recsys_lib.data.cleaning import local_time
from recsys_lib.data.interactions import check_columns

Date = str | pd.Timestamp

SEGMENTS = ("core", "big shops", "top-ups", "middle", "occasional", "away")
LOOKBACK, RECENT = 91, 28  # days; the first is 13 whole weeks
_DAY = np.timedelta64(1, "D")


def visit_days(lines: pd.DataFrame) -> pd.DataFrame:
    """Sum purchase lines to visits: one row per household and day, however many baskets that day had.

    Parameters
    ----------
    lines : pandas.DataFrame
        Cleaned purchase lines with `household_id`, `basket_id`, `transaction_timestamp` (UTC), `sales_value`
        and `retail_disc` (US dollars). Left as it is.

    Returns
    -------
    pandas.DataFrame
        Sorted by household and day: `household_id`, `day` (local midnight), `baskets`, `spend` and `discount`
        (US dollars).
    """
    check_columns(lines, ["household_id", "basket_id", "transaction_timestamp", "sales_value", "retail_disc"])
    baskets = lines.groupby(["household_id", "basket_id"], sort=False).agg(
        day=("transaction_timestamp", "min"),
        spend=("sales_value", "sum"),
        discount=("retail_disc", "sum"),
    )
    baskets["day"] = local_time(baskets["day"]).dt.normalize()
    days = baskets.groupby(["household_id", "day"])
    return days.agg(
        baskets=("spend", "size"), spend=("spend", "sum"), discount=("discount", "sum")
    ).reset_index()


def rfm_table(visits: pd.DataFrame, start: Date, end: Date) -> pd.DataFrame:
    """Return recency, frequency and monetary value of each household over a period.

    Returns
    -------
    pandas.DataFrame
        Without households that did not come: `recency` (days from the last visit to `end`), `frequency` (days
        with a visit), `monetary` (US dollars).

    References
    ----------
    Bult & Wansbeek (1995), "Optimal Selection for Direct Mail", Marketing Science 14(4).
    """
    start, end = _period(start, end)
    within = visits[(visits["day"] >= start) & (visits["day"] < end)]
    if within.empty:
        raise ValueError(f"no visit from {start:%Y-%m-%d} to {end:%Y-%m-%d}; {_range_of(visits)}")
    table = within.groupby("household_id").agg(
        recency=("day", "max"), frequency=("day", "size"), monetary=("spend", "sum")
    )
    return table.assign(recency=(end - table["recency"]).dt.days)


def rfm_segments(table: pd.DataFrame) -> pd.Series:
    """Name the kind of customer each household is.

    The first rule that fits counts; "often" and "much" mean the table's top third, "seldom" and "little" its
    bottom third:

    1. away: no visit in the last 28 days
    2. core: comes often and spends much
    3. big shops: spends much
    4. top-ups: comes often
    5. occasional: comes seldom and spends little
    6. middle: everybody else

    Parameters
    ----------
    table : pandas.DataFrame
        From `rfm_table`.

    Returns
    -------
    pandas.Series of category
        With the index of `table`; the categories are `SEGMENTS`.
    """
    seldom, often = table["frequency"].quantile([1 / 3, 2 / 3])
    little, much = table["monetary"].quantile([1 / 3, 2 / 3])
    rules = {
        "away": table["recency"] > RECENT,
        "core": (table["frequency"] > often) & (table["monetary"] > much),
        "big shops": table["monetary"] > much,
        "top-ups": table["frequency"] > often,
        "occasional": (table["frequency"] <= seldom) & (table["monetary"] <= little),
    }
    names = np.select(list(rules.values()), list(rules), "middle")
    return pd.Series(pd.Categorical(names, SEGMENTS), table.index, name="segment")


def weeks_active(visits: pd.DataFrame, start: Date, end: Date) -> pd.Series:
    """Return the share of weeks with a visit: how sticky the shop is for each household.

    Weeks are counted from `start`; a last week that `end` cuts short is left out. Households that never came
    in these weeks are missing, not 0.
    """
    start, end = _period(start, end)
    n_weeks = (end - start).days // 7
    if n_weeks < 1:
        raise ValueError(f"there is no whole week from {start:%Y-%m-%d} to {end:%Y-%m-%d}")
    week = (visits["day"] - start).dt.days // 7
    week = week[(week >= 0) & (week < n_weeks)]
    return week.groupby(visits["household_id"]).nunique().div(n_weeks).rename("weeks_active")


def visit_gaps(visits: pd.DataFrame, end: Date) -> pd.DataFrame:
    """Return the days from each visit to the household's next one, and whether that one was seen.

    The last gap of each household is still open. All that is known is that it is longer than the days
    observed since: it is right-censored. Visits from `end` on are not observed.

    Returns
    -------
    pandas.DataFrame
        One row per visit before `end`, sorted: `household_id`, `day` (of the visit), `days`, `closed` (bool).
    """
    end = _day(end, "end")
    gaps = visits.loc[visits["day"] < end, ["household_id", "day"]].sort_values(["household_id", "day"])
    following = gaps.groupby("household_id")["day"].shift(-1)
    # The last day that was observed is the one before `end`.
    days = (following.fillna(end - _DAY) - gaps["day"]).dt.days
    return gaps.assign(days=days, closed=following.notna()).reset_index(drop=True)


def churned(visits: pd.DataFrame, as_of: Date, days: int | pd.Series = 28) -> pd.Series:
    """Say of each household seen before a date whether it stays away from that date on.

    Parameters
    ----------
    as_of : str or pandas.Timestamp
        First day of the window.
    days : int or pandas.Series
        Length of the window: one for all, or one per household_id (households without one are left out).

    Returns
    -------
    pandas.Series of bool
        True if there is no visit from `as_of` on for `days` days.
    """
    as_of = _day(as_of, "as_of")
    before = pd.Index(np.unique(visits.loc[visits["day"] < as_of, "household_id"]), name="household_id")
    windows = days.reindex(before).dropna() if isinstance(days, pd.Series) else pd.Series(days, before)
    if windows.empty:
        raise ValueError(f"no household to judge before {as_of:%Y-%m-%d}; {_range_of(visits)}")
    if windows.min() < 1:
        raise ValueError(f"days must be at least 1, got {windows.min()}")
    last = as_of + (int(np.ceil(windows.max())) - 1) * _DAY
    if last > visits["day"].max():
        raise ValueError(
            f"{windows.max():g} days from {as_of:%Y-%m-%d} on end on {last:%Y-%m-%d}; {_range_of(visits)}: "
            "choose an earlier date or a shorter window"
        )
    later = visits[visits["day"] >= as_of]
    waited = (later.groupby("household_id")["day"].min().reindex(windows.index) - as_of).dt.days
    # A household that never comes again has waited NaN days, and a comparison with NaN is false.
    return (~(waited < windows)).rename("churned")


def churn_features(visits: pd.DataFrame, as_of: Date) -> pd.DataFrame:
    """Describe each household by its visits in the 91 days before a date, and by nothing else.

    The look-back is as long at every date: "visits so far" would mean ten months in November and three in
    April, and what a model learnt from one would not hold for the other.

    Parameters
    ----------
    as_of : str or pandas.Timestamp
        Visits from this day on are not looked at. Recent are those of the last 28 days.

    Returns
    -------
    pandas.DataFrame
        Without households that did not come in the look-back: `days_since_last`; `visits`, `recent_visits`;
        `weeks_active` (share of the whole weeks, counted back from `as_of`); `usual_gap` (median) and
        `longest_gap` between visits (days; 91 if there was only one); `relative_gap` (days since last
        ÷ usual gap); `spend`, `recent_spend`, `spend_per_visit` (US dollars); `visit_trend`, `spend_trend`
        (recent per day ÷ look-back per day; 1: as always); `discount_share` (discount over the price before
        it).
    """
    as_of = _day(as_of, "as_of")
    start = as_of - LOOKBACK * _DAY
    if visits.empty or start < visits["day"].min():
        raise ValueError(f"the look-back begins on {start:%Y-%m-%d}; {_range_of(visits)}")
    past = visits[(visits["day"] >= start) & (visits["day"] < as_of)].sort_values(["household_id", "day"])
    ago = (as_of - past["day"]).dt.days
    past = past.assign(
        ago=ago,
        gap=-ago.groupby(past["household_id"]).diff(),
        week=(ago - 1) // 7,
        recent_visits=ago <= RECENT,
        recent_spend=past["spend"].where(ago <= RECENT, 0.0),
    )
    table = past.groupby("household_id").agg(
        days_since_last=("ago", "min"),
        visits=("ago", "size"),
        recent_visits=("recent_visits", "sum"),
        weeks_active=("week", "nunique"),
        usual_gap=("gap", "median"),
        longest_gap=("gap", "max"),
        spend=("spend", "sum"),
        recent_spend=("recent_spend", "sum"),
        discount=("discount", "sum"),
    )
    table["weeks_active"] /= LOOKBACK // 7
    table = table.fillna({"usual_gap": LOOKBACK, "longest_gap": LOOKBACK})
    table["relative_gap"] = table["days_since_last"] / table["usual_gap"]
    table["spend_per_visit"] = table["spend"] / table["visits"]
    table["visit_trend"] = (table["recent_visits"] / RECENT) / (table["visits"] / LOOKBACK)
    table["spend_trend"] = (table["recent_spend"] / RECENT) / (table["spend"] / LOOKBACK)
    discount = table.pop("discount")
    return table.assign(discount_share=discount / (table["spend"] + discount))


def time_to_churn(visits: pd.DataFrame, start: Date, end: Date, days: int = 28) -> pd.DataFrame:
    """Return how long each active household stays before it is first absent for `days` days.

    Households that came in the `days` days before `start` are active. One churns on the day that completes
    `days` days without a visit; if no such day comes before `end`, its time is right-censored.

    Returns
    -------
    pandas.DataFrame
        Active households only: `days` from `start` (0: on `start` itself) to churn or to the last observed
        day, `churned` (bool).
    """
    start, end = _period(start, end)
    if days < 1:
        raise ValueError(f"days must be at least 1, got {days}")
    gaps = visit_gaps(visits[visits["day"] >= start - days * _DAY], end)
    # A gap of n days between visits has n - 1 days without one; an open gap of n days has n.
    long_enough = gaps["days"] >= days + gaps["closed"]
    completed = (gaps["day"] + days * _DAY).where(long_enough)
    first = gaps.assign(completed=completed).groupby("household_id").agg({"day": "min", "completed": "min"})
    active = first[first["day"] < start]
    return pd.DataFrame(
        {
            "days": (active["completed"].fillna(end - _DAY) - start).dt.days,
            "churned": active["completed"].notna(),
        }
    )


def _day(date: Date, name: str) -> pd.Timestamp:
    """Refuse an hour: visits are known by the day."""
    day = pd.Timestamp(date)
    if pd.isna(day) or day != day.normalize():
        raise ValueError(f"{name} must be a day such as '2017-07-01', got {date!r}")
    return day


def _period(start: Date, end: Date) -> tuple[pd.Timestamp, pd.Timestamp]:
    start, end = _day(start, "start"), _day(end, "end")
    if start >= end:
        raise ValueError(f"start must lie before end, got {start:%Y-%m-%d} and {end:%Y-%m-%d}")
    return start, end


def _range_of(visits: pd.DataFrame) -> str:
    if visits.empty:
        return "there are no visits"
    return f"the visits run from {visits['day'].min():%Y-%m-%d} to {visits['day'].max():%Y-%m-%d}"
