import pandas as pd
import pytest

from recsys_lib.data import apply_steps, clean_transactions, load_table, local_time


def test_each_step_counts_what_the_earlier_ones_left():
    lines = pd.DataFrame(
        {
            "quantity": [1, 0, 2, 3, 1],
            "sales_value": [1.0, 0.0, 0.0, 2.0, 2.0],
            "product_id": [1, 1, 1, 2, 9],
        },
        index=list("abcde"),
    )
    products = pd.DataFrame({"product_id": [1, 2], "department": ["GROCERY", "FUEL"]})
    before = lines.copy()
    cleaned = clean_transactions(lines, products)
    assert cleaned.frame.index.tolist() == ["a"]
    assert cleaned.report["removed"].tolist() == [1, 1, 1, 1]
    assert cleaned.report["rows_before"].tolist() == [5, 4, 3, 2]
    pd.testing.assert_frame_equal(lines, before)
    twice = clean_transactions(lines, pd.concat([products, products]))  # a table that lists products twice
    assert twice.frame.equals(cleaned.frame)


def test_a_step_with_too_few_answers_is_named():
    with pytest.raises(ValueError, match="step 'half' gave"):
        apply_steps(pd.DataFrame({"x": [1, 2]}), {"half": lambda rows: [True]})


def test_complete_journey_loses_exactly_these_lines():
    lines = load_table("transactions", ["quantity", "sales_value", "product_id"])
    products = load_table("products", ["product_id", "department"])
    cleaned = clean_transactions(lines, products)
    assert (len(lines), len(cleaned.frame)) == (1_469_307, 1_439_976)
    assert cleaned.report["removed"].tolist() == [8_869, 2_406, 32, 18_024]


def test_weeks_turn_at_midnight_of_local_time_all_year():
    lines = load_table("transactions", ["week", "transaction_timestamp"])
    local = local_time(lines["transaction_timestamp"])
    # Week 2 begins on Monday, 2 January 2017.
    monday = pd.Timestamp("2017-01-02") + pd.to_timedelta((lines["week"] - 2) * 7, unit="D")
    assert ((local >= monday) & (local < monday + pd.Timedelta(days=7))).all()
    raw = lines["transaction_timestamp"]
    assert not ((raw >= monday) & (raw < monday + pd.Timedelta(days=7))).all()
