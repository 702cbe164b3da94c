"""Tables that notebook 01 prepares and the others load; whichever runs first builds them."""

import pandas as pd

from recsys_lib.data.cache import cached_table
from recsys_lib.data.cleaning import clean_transactions
from recsys_lib.data.complete_journey import CompleteJourney, complete_journey_folder, load_table
from recsys_lib.data.households import household_view, promotion_flags
from recsys_lib.files import sha256

# Raise it when a change of code changes the tables.
_VERSION = 1


def prepared_lines() -> pd.DataFrame:
    """Return the cleaned purchase lines, each with its promotion flags.

    Returns
    -------
    pandas.DataFrame
        1,439,976 rows in file order: the columns of transactions, `on_display` and `in_mailer`.
    """
    return cached_table("lines", _build_lines, _version("transactions", "products", "promotions"))


def prepared_households(as_of: str | pd.Timestamp = "2017-12-01") -> pd.DataFrame:
    """Return the joined view of every household as of a date (see `household_view`).

    Parameters
    ----------
    as_of : str or pandas.Timestamp
        By default the cut of `complete_journey_december`.

    Returns
    -------
    pandas.DataFrame
        Indexed by household_id.
    """
    day = pd.Timestamp(as_of).isoformat()

    def build() -> pd.DataFrame:
        lines = prepared_lines()
        others = {name: load_table(name) for name in CompleteJourney._fields if name != "transactions"}
        flags = lines[["on_display", "in_mailer"]]
        return household_view(CompleteJourney(lines, **others), as_of, flags).reset_index()

    tables = ("transactions", "products", "promotions", "demographics", "campaigns", "coupon_redemptions")
    name = f"households_{day.replace(':', '-')}"
    return cached_table(name, build, _version(*tables) | {"as_of": day}).set_index("household_id")


def _build_lines() -> pd.DataFrame:
    products = load_table("products", ["product_id", "department"])
    lines = clean_transactions(load_table("transactions"), products).frame
    return lines.join(promotion_flags(lines)).reset_index(drop=True)


def _version(*tables: str) -> dict:
    folder = complete_journey_folder()
    return {"code": _VERSION} | {name: sha256(folder / f"{name}.parquet") for name in tables}
