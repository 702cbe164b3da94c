"""Cleaning of the purchase lines, one named step at a time, with the rows each step costs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

# Departments whose lines are no products on a shelf: fuel is counted in hundredths of a gallon or so,
# miscellaneous and coupon lines are bookkeeping.
NO_PRODUCT_DEPARTMENTS = ("FUEL", "MISCELLANEOUS", "COUPON")

Step = Callable[[pd.DataFrame], np.ndarray]


class Cleaned(NamedTuple):
    """What is left, and what each step removed."""

    frame: pd.DataFrame
    report: pd.DataFrame


def clean_transactions(transactions: pd.DataFrame, products: pd.DataFrame) -> Cleaned:
    """Keep the purchase lines that say: this household bought this product.

    Four steps, in this order: quantity above 0, sales value above 0, product known to the product table,
    department none of `NO_PRODUCT_DEPARTMENTS`.

    Parameters
    ----------
    transactions : pandas.DataFrame
        With columns `quantity`, `sales_value` and `product_id`; left as it is.
    products : pandas.DataFrame
        With columns `product_id` and `department`.

    Returns
    -------
    Cleaned
        `frame`: the rows kept, with their index; `report`: one row per step.
    """
    dropped = products.loc[products["department"].isin(NO_PRODUCT_DEPARTMENTS), "product_id"]
    names = ", ".join(NO_PRODUCT_DEPARTMENTS)
    return apply_steps(
        transactions,
        {
            "quantity > 0": lambda rows: rows["quantity"].to_numpy() > 0,
            "sales_value > 0": lambda rows: rows["sales_value"].to_numpy() > 0,
            "product in the product table": lambda rows: _isin(rows["product_id"], products["product_id"]),
            f"department not in {names}": lambda rows: ~_isin(rows["product_id"], dropped),
        },
    )


def apply_steps(frame: pd.DataFrame, steps: dict[str, Step]) -> Cleaned:
    """Apply filters one after the other and count what each removes.

    A step is a name and a function from the table to a boolean array, true where a row stays. Each row is
    judged by itself, whatever the steps before it removed: one that would fail two steps counts in the first.

    Examples
    --------
    >>> frame = pd.DataFrame({"quantity": [1, 0, 3], "price": [2.0, 2.0, -1.0]})
    >>> cleaned = apply_steps(frame, {"sold": lambda rows: rows["quantity"] > 0})
    >>> cleaned.report["removed"].tolist()
    [1]
    """
    keep, report = np.ones(len(frame), bool), []
    for name, step in steps.items():
        stays = np.asarray(step(frame), dtype=bool)
        if stays.shape != (len(frame),):
            raise ValueError(f"step {name!r} gave {stays.shape} answers for {len(frame)} rows")
        before, keep = keep, keep & stays
        report.append((name, int(before.sum()), int(keep.sum()), int((before & ~keep).sum())))
    # One copy at the end: a copy per step would take longer than all the steps.
    return Cleaned(
        frame[keep], pd.DataFrame(report, columns=["step", "rows_before", "rows_after", "removed"])
    )


def local_time(timestamps: pd.Series, zone: str = "America/New_York") -> pd.Series:
    """Turn Complete Journey's UTC stamps into the shops' wall-clock time.

    The file's stamps carry no zone. That they are UTC shows in its own week numbers, which turn at 05:00 of
    the stamp in winter and at 04:00 in summer: midnight in the US Eastern zone.

    Parameters
    ----------
    zone : str
        An IANA zone name.

    Returns
    -------
    pandas.Series of datetime64
        Without a zone, so that `.dt.hour` is the hour on the shop's clock.
    """
    return timestamps.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)


def _isin(ids: pd.Series, allowed: pd.Series) -> np.ndarray:
    # A hash look-up per distinct id instead of per row: each product stands in many lines.
    return pd.Index(allowed.unique()).get_indexer(ids) >= 0
