"""What every table must look like, checked when it is loaded (pandera)."""

import sys
from itertools import groupby
from pathlib import Path

import pandas as pd

from recsys_lib.files import read_rows

# Where Spark is installed, pandera would import its pandas: a second, 100 MB, a warning in every notebook.
sys.modules.setdefault("pyspark.pandas", None)
import pandera.pandas as pa  # noqa: E402

# The raw tables keep their flaws (zero quantities, missing text): a schema says what the file promises,
# cleaning decides what is usable. Coupons have no key: 4,872 of their rows are repeated.
_ROWS = read_rows(Path(__file__).with_name("schemas.csv"))


def _column(row: dict[str, str]) -> pa.Column:
    """Make a column with its bounds or allowed values; `empty` says whether cells may be missing."""
    checks = [pa.Check.isin(row["allowed"].split("|"))] if row["allowed"] else []
    read = pd.Timestamp if row["type"].startswith("datetime") else float if "float" in row["type"] else int
    if row["most"]:
        checks.append(pa.Check.between(read(row["least"]), read(row["most"])))
    elif row["least"]:
        checks.append(pa.Check.ge(read(row["least"])))
    return pa.Column(row["type"], checks, nullable=row["empty"] == "yes")


def _schemas(source: str) -> dict[str, pa.DataFrameSchema]:
    schemas = {}
    for table, group in groupby((row for row in _ROWS if row["source"] == source), lambda row: row["table"]):
        rows = list(group)
        columns = {row["column"]: _column(row) for row in rows}
        key = [row["column"] for row in rows if row["key"]]  # together unique
        schemas[table] = pa.DataFrameSchema(columns, strict=True, unique=key or None)
    return schemas


COMPLETE_JOURNEY, MOVIELENS = _schemas("complete_journey"), _schemas("movielens")


def check_table(
    frame: pd.DataFrame, schema: pa.DataFrameSchema, name: str, columns: list[str] | None = None
) -> pd.DataFrame:
    """Return `frame` if it keeps to its schema, else raise a ValueError: table, column, first bad row.

    With `columns`, those that were read, the others are not expected.
    """
    if columns is not None:
        schema = schema.select_columns(columns)
        schema.unique = None if not set(schema.unique or []) <= set(columns) else schema.unique
    try:
        return schema.validate(frame)
    except pa.errors.SchemaError as error:
        raise ValueError(f"table {name!r}: {_explain(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, for a message of our own."""
    return (str(error).strip().splitlines() or ["no message"])[0][:200]


def _explain(error: pa.errors.SchemaError) -> str:
    cases = error.failure_cases
    if isinstance(cases, pd.DataFrame) and "index" in cases and cases["index"].notna().any():
        first = cases.iloc[0]
        column = first.get("column", None) or getattr(error.schema, "name", None)
        return (
            f"column {column!r}, row {first['index']} (from 0) is {first['failure_case']!r}; "
            f"expected {error.check}"
        )
    return str(error)
