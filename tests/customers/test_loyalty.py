"""Loyalty: every table equals a loop over single days; nothing after a date is ever looked at."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import CensoredData, ecdf

from recsys_lib.customers.loyalty import (
    SEGMENTS,
    churn_features,
    churned,
    rfm_segments,
    rfm_table,
    time_to_churn,
    visit_days,
    visit_gaps,
    weeks_active,
)

FIRST = pd.Timestamp("2017-01-02")
N_DAYS = 180
END = FIRST + pd.Timedelta(days=N_DAYS)
AS_OF = FIRST + pd.Timedelta(days=120)


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    """Forty households that come at very different rates; the last ten stop at some day."""
    rng = np.random.default_rng(0)
    parts = []
    for household in range(40):
        came = rng.random(N_DAYS) < rng.choice([0.01, 0.04, 0.15, 0.5])
        came[0] |= household == 0  # somebody on the first and on the last day
        came[-1] |= household == 0
        if household >= 30:
            came[rng.integers(20, N_DAYS) :] = False
        days = np.flatnonzero(came)
        parts.append(
            pd.DataFrame(
                {
                    "household_id": household * 7,
                    "day": FIRST + pd.to_timedelta(days, unit="D"),
                    "baskets": 1,
                    "spend": rng.gamma(2, 20, len(days)).round(2),
                    "discount": rng.gamma(1, 5, len(days)).round(2),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def days_of(visits: pd.DataFrame) -> dict[int, list[int]]:
    """Day numbers of each household's visits, in order."""
    numbers = (visits["day"] - FIRST).dt.days
    return {h: sorted(numbers[visits["household_id"] == h]) for h in visits["household_id"].unique()}


def test_visits_are_local_days_with_summed_baskets() -> None:
    stamps = [
        "2017-01-03 04:59",
        "2017-01-03 05:00",
        "2017-07-03 03:59",
        "2017-01-03 23:00",
        "2017-01-03 05:00",
    ]
    lines = pd.DataFrame(
        {
            "household_id": [1, 1, 1, 1, 2],
            "basket_id": [10, 11, 12, 13, 11],  # two households may have counted alike
            "transaction_timestamp": pd.to_datetime(stamps),
            "sales_value": [1.0, 2.0, 4.0, 8.0, 16.0],
            "retail_disc": [0.5, 0.0, 0.0, 1.0, 0.0],
        }
    )
    lines = pd.concat([lines, lines.iloc[[1]]], ignore_index=True)  # a second line in basket 11
    found = visit_days(lines)
    expected = {
        "household_id": [1, 1, 1, 2],
        "day": pd.to_datetime(["2017-01-02", "2017-01-03", "2017-07-02", "2017-01-03"]),
        "baskets": [1, 2, 1, 1],
        "spend": [1.0, 12.0, 4.0, 16.0],
        "discount": [0.5, 1.0, 0.0, 0.0],
    }
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected), check_dtype=False)
    with pytest.raises(ValueError, match="no column 'basket_id'"):
        visit_days(lines.drop(columns="basket_id"))


def test_rfm_equals_a_loop(visits: pd.DataFrame) -> None:
    start = FIRST + pd.Timedelta(days=30)
    table = rfm_table(visits, start, AS_OF)
    for household, days in days_of(visits).items():
        inside = [day for day in days if 30 <= day < 120]
        assert (household in table.index) == bool(inside)
        if inside:
            own = visits["household_id"] == household
            rows = visits[own & (visits["day"] >= start) & (visits["day"] < AS_OF)]
            assert table.loc[household, "recency"] == 120 - inside[-1]
            assert table.loc[household, "frequency"] == len(inside)
            assert table.loc[household, "monetary"] == pytest.approx(rows["spend"].sum(), rel=1e-12)


def test_segments_follow_their_rules_in_order() -> None:
    # Both columns hold 1, 2, 3, 4, 5, 6, 7.5, 8, 9: the bottom third ends at 3.67, the top one begins at 6.5.
    table = pd.DataFrame(
        {
            "recency": [29, 28, 1, 1, 1, 1, 1, 1, 1],
            "frequency": [9, 8, 1, 7.5, 2, 3, 4, 5, 6],
            "monetary": [9, 8, 7.5, 3, 1, 5, 2, 4, 6],
        },
        index=range(10, 100, 10),
    )
    segments = rfm_segments(table)
    assert segments.tolist()[:5] == ["away", "core", "big shops", "top-ups", "occasional"]
    assert segments.tolist()[5:] == ["middle"] * 4
    assert segments.index.tolist() == table.index.tolist()
    assert tuple(segments.cat.categories) == SEGMENTS


def test_weeks_active_equals_a_loop(visits: pd.DataFrame) -> None:
    found = weeks_active(visits, FIRST, FIRST + pd.Timedelta(days=101))  # 14 whole weeks and three days
    for household, days in days_of(visits).items():
        weeks = {day // 7 for day in days if day < 98}
        assert found.get(household, 0.0) == len(weeks) / 14
    with pytest.raises(ValueError, match="no whole week"):
        weeks_active(visits, FIRST, FIRST + pd.Timedelta(days=6))


def test_gaps_equal_a_loop(visits: pd.DataFrame) -> None:
    shuffled = visits.sample(frac=1, random_state=1)  # the order of rows must not matter
    found = visit_gaps(shuffled, AS_OF)
    expected = []
    for household, days in days_of(visits).items():
        seen = [day for day in days if day < 120]
        for place, day in enumerate(seen):
            last = place == len(seen) - 1
            expected.append((household, day, (119 if last else seen[place + 1]) - day, not last))
    rows = zip(
        found["household_id"], (found["day"] - FIRST).dt.days, found["days"], found["closed"], strict=True
    )
    assert [tuple(row) for row in rows] == sorted(expected)
    assert 0 < (~found["closed"]).sum() < len(found)


def test_churned_equals_a_loop(visits: pd.DataFrame) -> None:
    found = churned(visits, AS_OF, 28)
    for household, days in days_of(visits).items():
        if min(days) >= 120:
            assert household not in found.index
        else:
            assert found[household] == (not any(120 <= day < 148 for day in days))
    assert 0 < found.sum() < len(found)
    # A window per household; households without one are left out.
    windows = pd.Series({0: 5, 7: 30, 14: 60, 999: 3})
    own = churned(visits, AS_OF, windows)
    assert set(own.index) <= {0, 7, 14}
    for household in own.index:
        window = range(120, 120 + windows[household])
        assert own[household] == (not set(window) & set(days_of(visits)[household]))


def test_churn_needs_the_whole_window(visits: pd.DataFrame) -> None:
    last = visits["day"].max()
    churned(visits, last - pd.Timedelta(days=27), 28)
    with pytest.raises(ValueError, match="earlier date or a shorter window"):
        churned(visits, last - pd.Timedelta(days=26), 28)
    with pytest.raises(ValueError, match="at least 1"):
        churned(visits, AS_OF, 0)
    with pytest.raises(ValueError, match="no household to judge"):
        churned(visits, FIRST, 28)


def test_features_equal_a_loop(visits: pd.DataFrame) -> None:
    found = churn_features(visits, AS_OF)
    for household, days in days_of(visits).items():
        ago = sorted((120 - day for day in days if 29 <= day < 120), reverse=True)
        assert (household in found.index) == bool(ago)
        if not ago:
            continue
        row = found.loc[household]
        rows = visits[visits["household_id"] == household]
        spend = [rows.loc[rows["day"] == AS_OF - pd.Timedelta(days=a), "spend"].item() for a in ago]
        discount = [rows.loc[rows["day"] == AS_OF - pd.Timedelta(days=a), "discount"].item() for a in ago]
        recent = [s for a, s in zip(ago, spend, strict=True) if a <= 28]
        gaps = [ago[i] - ago[i + 1] for i in range(len(ago) - 1)] or [91]
        expected = {
            "days_since_last": ago[-1],
            "visits": len(ago),
            "recent_visits": len(recent),
            "weeks_active": len({(a - 1) // 7 for a in ago}) / 13,
            "usual_gap": np.median(gaps),
            "longest_gap": max(gaps),
            "relative_gap": ago[-1] / np.median(gaps),
            "spend": sum(spend),
            "recent_spend": sum(recent),
            "spend_per_visit": sum(spend) / len(ago),
            "visit_trend": len(recent) / 28 / (len(ago) / 91),
            "spend_trend": sum(recent) / 28 / (sum(spend) / 91),
            "discount_share": sum(discount) / (sum(discount) + sum(spend)),
        }
        assert set(expected) == set(found.columns)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-12, abs=0), name
    assert found.notna().all().all()


def test_nothing_after_the_date_changes_a_feature(visits: pd.DataFrame) -> None:
    rng = np.random.default_rng(2)
    later = (visits["day"] >= AS_OF).to_numpy()
    spoilt = visits.copy()
    for name in ("household_id", "spend", "discount"):
        spoilt.loc[later, name] = rng.permutation(spoilt.loc[later, name].to_numpy())
    assert not spoilt.equals(visits)
    spoilt = spoilt.drop_duplicates(["household_id", "day"])
    pd.testing.assert_frame_equal(churn_features(spoilt, AS_OF), churn_features(visits, AS_OF))
    pd.testing.assert_frame_equal(rfm_table(spoilt, FIRST, AS_OF), rfm_table(visits, FIRST, AS_OF))
    pd.testing.assert_frame_equal(visit_gaps(spoilt, AS_OF), visit_gaps(visits, AS_OF))
    # And something before it does.
    changed = visits.assign(spend=visits["spend"].mask(visits["day"] == AS_OF - pd.Timedelta(days=1), 1e6))
    assert not churn_features(changed, AS_OF).equals(churn_features(visits, AS_OF))


def test_features_refuse_what_they_cannot_see(visits: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="look-back begins on 2016"):
        churn_features(visits, FIRST + pd.Timedelta(days=50))
    with pytest.raises(ValueError, match="as_of must be a day"):
        churn_features(visits, AS_OF + pd.Timedelta(hours=3))
    with pytest.raises(ValueError, match="start must lie before end"):
        rfm_table(visits, END, FIRST)
    with pytest.raises(ValueError, match="no visit from"):
        rfm_table(visits, "2018-03-01", "2018-04-01")


@pytest.mark.parametrize("absence", [7, 28])
def test_time_to_churn_equals_a_walk_through_the_days(visits: pd.DataFrame, absence: int) -> None:
    start = 60
    found = time_to_churn(visits, FIRST + pd.Timedelta(days=start), AS_OF, absence)
    for household, days in days_of(visits).items():
        before = [day for day in days if start - absence <= day < start]
        assert (household in found.index) == bool(before)
        if not before:
            continue
        last, answer = before[-1], (119 - start, False)
        for today in range(start, 120):
            if today in days:
                last = today
            elif today - last == absence:
                answer = (today - start, True)
                break
        assert tuple(found.loc[household]) == answer
    assert 0 < found["churned"].sum() < len(found)
    with pytest.raises(ValueError, match="days must be at least 1"):
        time_to_churn(visits, FIRST, AS_OF, 0)


def test_survival_of_closed_and_open_gaps_is_the_product_limit(visits: pd.DataFrame) -> None:
    gaps = visit_gaps(visits, AS_OF)
    gaps = gaps[gaps["days"] > 0]
    data = CensoredData(uncensored=gaps.loc[gaps["closed"], "days"], right=gaps.loc[~gaps["closed"], "days"])
    survival = ecdf(data).sf
    left = 1.0
    for day in range(1, int(gaps["days"].max()) + 1):
        at_risk = (gaps["days"] >= day).sum()
        left *= 1 - ((gaps["days"] == day) & gaps["closed"]).sum() / at_risk
        assert survival.evaluate(day) == pytest.approx(left, rel=1e-12)
    assert left < 0.3


def visits_on(**days_by_household: list[int]) -> pd.DataFrame:
    """Visits on given day numbers; households are named a, b, …"""
    return pd.DataFrame(
        [(name, FIRST + pd.Timedelta(days=day)) for name, days in days_by_household.items() for day in days],
        columns=["household_id", "day"],
    )


def test_the_first_and_the_last_day_of_a_window_count() -> None:
    visits = visits_on(a=[0, 50], b=[0, 77], c=[0, 78], d=[49], e=[50], f=[0, 100])
    found = churned(visits, FIRST + pd.Timedelta(days=50), 28)
    # e came first on day 50: before it, nobody knew e.
    assert found.to_dict() == {"a": False, "b": False, "c": True, "d": True, "f": True}


def test_the_first_and_the_last_day_of_an_absence_count() -> None:
    start, end = FIRST + pd.Timedelta(days=50), FIRST + pd.Timedelta(days=79)
    visits = visits_on(
        late=[21], first=[22], back=[22, 50], again=[40, 68], gone=[40, 69], today=[50], last=[49, 51]
    )
    found = time_to_churn(visits, start, end, 28)
    # late: away since before the window; today: not active yet on the day before.
    assert found["days"].to_dict() == {"first": 0, "back": 28, "again": 28, "gone": 18, "last": 28}
    assert found["churned"].to_dict() == {
        "first": True,
        "back": True,
        "again": False,
        "gone": True,
        "last": False,
    }
