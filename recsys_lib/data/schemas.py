"""What every table must look like, checked when it is loaded (pandera)."""

import pandas as pd
import pandera.pandas as pa

# The raw tables keep their flaws (zero quantities, missing text): a schema says what the file promises,
# cleaning decides what is usable.
_ID = pa.Column("int64", pa.Check.ge(0))
_TEXT = pa.Column("str", nullable=True)
_MONEY = pa.Column("float64", pa.Check.ge(0))
_TIME = pa.Column("datetime64[ns]")
_WORD = pa.Column("str")
_WEEK = pa.Column("int64", pa.Check.between(1, 53))


def _table(*columns: dict[str, pa.Column], unique: list[str] | None = None) -> pa.DataFrameSchema:
    together = {name: column for part in columns for name, column in part.items()}
    return pa.DataFrameSchema(together, strict=True, unique=unique)


def _all(column: pa.Column, *names: str) -> dict[str, pa.Column]:
    return dict.fromkeys(names, column)


COMPLETE_JOURNEY: dict[str, pa.DataFrameSchema] = {
    "transactions": _table(
        _all(_ID, "household_id", "store_id", "basket_id", "product_id"),
        {"quantity": pa.Column("int64", pa.Check.ge(0))},
        _all(_MONEY, "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"),
        {
            "week": _WEEK,
            "transaction_timestamp": pa.Column(
                "datetime64[ns]", pa.Check.between(pd.Timestamp("2017-01-01"), pd.Timestamp("2018-01-02"))
            ),
        },
    ),
    "products": _table(
        _all(_ID, "product_id", "manufacturer_id"),
        {"department": _WORD, "brand": pa.Column("str", pa.Check.isin(["National", "Private"]))},
        _all(_TEXT, "product_category", "product_type", "package_size"),
        unique=["product_id"],
    ),
    "demographics": _table(
        {"household_id": _ID},
        _all(_WORD, "age", "income"),
        _all(_TEXT, "home_ownership", "marital_status"),
        _all(_WORD, "household_size", "household_comp", "kids_count"),
        unique=["household_id"],
    ),
    "campaigns": _table(_all(_ID, "campaign_id", "household_id"), unique=["campaign_id", "household_id"]),
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
    "coupons": _table(_all(_ID, "coupon_upc", "product_id", "campaign_id")),
    "coupon_redemptions": _table(
        _all(_ID, "household_id", "coupon_upc", "campaign_id"), {"redemption_date": _TIME}
    ),
    "promotions": _table(
        _all(_ID, "product_id", "store_id"),
        _all(_WORD, "display_location", "mailer_location"),
        {"week": _WEEK},
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
        {"item": _ID, "title": _WORD, "year": pa.Column("Int64", nullable=True), "genres": _WORD},
        unique=["item"],
    ),
    "users": _table(
        {
            "user": _ID,
            "age": pa.Column("int64", pa.Check.between(0, 120)),
            "gender": pa.Column("str", pa.Check.isin(["F", "M"])),
        },
        _all(_WORD, "occupation", "zip_code"),
        unique=["user"],
    ),
}


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
