"""The campaigns, whom each was sent to, and who converted."""

import numpy as np
import pandas as pd

from recsys_lib.data.complete_journey import CompleteJourney

OK, BEGAN_BEFORE, ENDS_AFTER = "ok", "began before the data", "ends after the data"


def campaign_table(journey: CompleteJourney) -> pd.DataFrame:
    """Describe every campaign, and say whether its outcome can be known.

    Returns
    -------
    pandas.DataFrame
        Indexed by campaign_id, sorted by start: `campaign_type`, `start_date`, `end_date`, `households`,
        `coupons`, `products` (0 if there are none), `converted` (share of its households that redeemed a
        coupon of it during its run), `status` ("ok", "began before the data", "ends after the data").
    """
    described = journey.campaign_descriptions.sort_values(["start_date", "campaign_id"], ignore_index=True)
    for row in described[described["end_date"] < described["start_date"]].itertuples():
        dates = f"{row.start_date.date()}, ends {row.end_date.date()}"
        raise ValueError(
            f"campaign {row.campaign_id} starts {dates}: a campaign must not end before it starts"
        )
    table = described.set_index("campaign_id")
    missing = set(journey.campaigns["campaign_id"]) - set(table.index)
    if missing:
        raise ValueError(f"campaign {min(missing)} was sent, but campaign_descriptions does not have it")
    for name, frame, column in (
        ("households", journey.campaigns, "household_id"),
        ("coupons", journey.coupons, "coupon_upc"),
        ("products", journey.coupons, "product_id"),
    ):
        table[name] = frame.groupby("campaign_id")[column].nunique().reindex(table.index, fill_value=0)
    table["converted"] = _sent(journey).groupby("campaign_id")["converted"].mean()
    stamps = journey.transactions["transaction_timestamp"]
    first, last = stamps.min().normalize(), stamps.max().normalize()
    # A stamp of 1 January may belong to the evening of the day before (UTC): a campaign must end before it.
    table["status"] = np.select(
        [table["start_date"] < first, table["end_date"] >= last], [BEGAN_BEFORE, ENDS_AFTER], OK
    )
    return table


def campaign_pairs(journey: CompleteJourney) -> pd.DataFrame:
    """List who was sent which campaign, and who converted: redeemed a coupon of it during its run.

    Returns
    -------
    pandas.DataFrame
        Sorted by start, campaign, household: `campaign_id`, `household_id`, `start_date`, `converted` (bool)
        and `status` of the campaign. Only with status "ok" does `converted` tell the whole story.
    """
    table = campaign_table(journey)
    pairs = _sent(journey).join(table[["start_date", "status"]], on="campaign_id")
    pairs = pairs.sort_values(["start_date", "campaign_id", "household_id"], ignore_index=True)
    return pairs[["campaign_id", "household_id", "start_date", "converted", "status"]]


def redemptions(journey: CompleteJourney) -> pd.DataFrame:
    """List the redemptions of campaigns' coupons during their runs, by the households they were sent to."""
    runs = journey.campaign_descriptions.set_index("campaign_id")[["start_date", "end_date"]]
    found = journey.coupon_redemptions.merge(journey.campaigns).join(runs, on="campaign_id")
    inside = found["redemption_date"].between(found["start_date"], found["end_date"])
    return found.loc[inside, ["household_id", "campaign_id", "redemption_date"]]


def first_redemptions(journey: CompleteJourney) -> pd.DataFrame:
    """Keep the first of the `redemptions` of each household and campaign."""
    keys = ["household_id", "campaign_id"]
    return redemptions(journey).groupby(keys, as_index=False)["redemption_date"].min()


def _sent(journey: CompleteJourney) -> pd.DataFrame:
    sent = journey.campaigns.merge(first_redemptions(journey), how="left")
    return sent.assign(converted=sent.pop("redemption_date").notna())
