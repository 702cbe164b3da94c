"""What every table must look like, checked when it is loaded (pandera)."""

import pandas as pd
import pandera.pandas as pa

# The raw tables keep their flaws (zero quantities, missing text): a schema says what the file promises,
# cleaning decides what is usable.
_ID = pa.Column("int64", pa.Check.ge(0))
_TEXT = pa.Column("str", nullable=True)
_MONEY = pa.Column("float64", pa.Check.ge(0))
_TIME = pa.Column("datetime64[ns]")


def _table(columns: dict[str, pa.Column], unique: list[str] | None = None) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, strict=True, unique=unique)


COMPLETE_JOURNEY: dict[str, pa.DataFrameSchema] = {
    "transactions": _table(
        {
            "household_id": _ID,
            "store_id": _ID,
            "basket_id": _ID,
            "product_id": _ID,
            "quantity": pa.Column("int64", pa.Check.ge(0)),
            "sales_value": _MONEY,
            "retail_disc": _MONEY,
            "coupon_disc": _MONEY,
            "coupon_match_disc": _MONEY,
            "week": pa.Column("int64", pa.Check.between(1, 53)),
            "transaction_timestamp": pa.Column(
                "datetime64[ns]", pa.Check.between(pd.Timestamp("2017-01-01"), pd.Timestamp("2018-01-02"))
            ),
        }
    ),
    "products": _table(
        {
            "product_id": _ID,
            "manufacturer_id": _ID,
            "department": pa.Column("str"),
            "brand": pa.Column("str", pa.Check.isin(["National", "Private"])),
            "product_category": _TEXT,
            "product_type": _TEXT,
            "package_size": _TEXT,
        },
        unique=["product_id"],
    ),
    "demographics": _table(
        {
            "household_id": _ID,
            "age": pa.Column("str"),
            "income": pa.Column("str"),
            "home_ownership": _TEXT,
            "marital_status": _TEXT,
            "household_size": pa.Column("str"),
            "household_comp": pa.Column("str"),
            "kids_count": pa.Column("str"),
        },
        unique=["household_id"],
    ),
    "campaigns": _table({"campaign_id": _ID, "household_id": _ID}, unique=["campaign_id", "household_id"]),
    "campaign_descriptions": _table(
        {
            "campaign_id": _ID,
            "campaign_type": pa.Column("str", pa.Check.isin(["Type A", "Type B", "Type C"])),
            "start_date": _TIME,
            "end_date": _TIME,
        },
        unique=["campaign_id"],
    ),
    # coupons hold 4,872 repeated rows: the same coupon, product and campaign listed twice.
    "coupons": _table({"coupon_upc": _ID, "product_id": _ID, "campaign_id": _ID}),
    "coupon_redemptions": _table(
        {"household_id": _ID, "coupon_upc": _ID, "campaign_id": _ID, "redemption_date": _TIME}
    ),
    "promotions": _table(
        {
            "product_id": _ID,
            "store_id": _ID,
            "display_location": pa.Column("str"),
            "mailer_location": pa.Column("str"),
            "week": pa.Column("int64", pa.Check.between(1, 53)),
        }
    ),
}

MOVIELENS: dict[str, pa.DataFrameSchema] = {
    "ratings": _table(
        {
            "user": pa.Column("int64", pa.Check.between(1, 943)),
            "item": pa.Column("int64", pa.Check.between(1, 1682)),
            "rating": pa.Column("int64", pa.Check.between(1, 5)),
            "time": pa.Column("datetime64[s]"),
        },
        unique=["user", "item"],
    ),
    "items": _table(
        {
            "item": _ID,
            "title": pa.Column("str"),
            "year": pa.Column("Int64", nullable=True),
            "genres": pa.Column("str"),
        },
        unique=["item"],
    ),
    "users": _table(
        {
            "user": _ID,
            "age": pa.Column("int64", pa.Check.between(0, 120)),
            "gender": pa.Column("str", pa.Check.isin(["F", "M"])),
            "occupation": pa.Column("str"),
            "zip_code": pa.Column("str"),
        },
        unique=["user"],
    ),
}


def check_table(
    frame: pd.DataFrame, schema: pa.DataFrameSchema, name: str, columns: list[str] | None = None
) -> pd.DataFrame:
    """Return `frame` if it keeps to its schema, else raise a ValueError: table, column, first bad row.

    Parameters
    ----------
    frame : pandas.DataFrame
    schema : pandera.pandas.DataFrameSchema
    name : str
        The table's name, for the message.
    columns : list of str, optional
        The columns that were read; the others are not expected.
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
