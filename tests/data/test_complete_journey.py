import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys_lib.data import (
    complete_journey,
    complete_journey_folder,
    load_complete_journey,
    load_promotions,
    load_table,
)

ROWS = {
    "transactions": 1_469_307,
    "products": 92_331,
    "demographics": 801,
    "campaigns": 6_589,
    "campaign_descriptions": 27,
    "coupons": 116_204,
    "coupon_redemptions": 2_102,
}


def test_every_table_has_its_rows():
    journey = load_complete_journey()
    assert {name: len(table) for name, table in journey._asdict().items()} == ROWS


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("load_complete_journey()", 1_000),
        ("load_promotions(weeks=[5, 6])", 1_000),
        ("complete_journey_december()", 1_500),
    ],
)
def test_peak_memory_stays_under_the_limit_in_mb(code, limit):
    # On Linux ru_maxrss begins with the size of the process that started this one, which pytest may have
    # brought beyond the limit; VmHWM (in kB) is of the new process alone. macOS's ru_maxrss is in bytes.
    script = (
        f"import resource, sys\nfrom pathlib import Path\nfrom recsys_lib.data import *\n{code}\n"
        "if sys.platform == 'darwin':\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)\n"
        "else:\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    print(next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1e3)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 100 < float(run.stdout.split()[-1]) < limit


def test_columns_are_read_alone():
    assert list(load_table("products", ["product_id", "brand"]).columns) == ["product_id", "brand"]


def test_promotions_are_filtered_by_week_and_product():
    some = load_promotions(weeks=[5], products=[1_000_050, 1_000_106])
    assert set(some["week"]) == {5}
    assert set(some["product_id"]) <= {1_000_050, 1_000_106}
    week = load_promotions(weeks=[5])
    weeks = pq.read_table(complete_journey_folder() / "promotions.parquet", columns=["week"])["week"]
    assert len(week) == pc.sum(pc.equal(weeks, 5)).as_py()
    assert len(some) == week["product_id"].isin([1_000_050, 1_000_106]).sum() > 0


def test_all_promotions_at_once_are_refused():
    with pytest.raises(ValueError, match="weeks=… or products=…"):
        load_promotions()
    with pytest.raises(ValueError, match="load_promotions"):
        load_table("promotions")


def test_no_matching_promotion_gives_an_empty_table():
    none = load_promotions(products=[-5])
    assert len(none) == 0
    assert list(none.columns) == ["product_id", "store_id", "display_location", "mailer_location", "week"]


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(complete_journey, "complete_journey_folder", lambda: tmp_path)
    return tmp_path


def test_unknown_names_are_refused_with_the_known_ones(own_folder):
    with pytest.raises(ValueError, match=r"no table 'product'.*products"):
        load_table("product")
    with pytest.raises(ValueError, match=r"no column 'price'.*brand"):
        load_table("products", ["price"])
    with pytest.raises(FileNotFoundError, match=r"campaigns\.parquet is missing"):
        load_table("campaigns")


def test_a_table_that_breaks_its_schema_is_refused_with_its_first_bad_row(own_folder):
    table = pa.table({"campaign_id": [1, -2, 3], "household_id": [1, 2, 3]})
    pq.write_table(table, own_folder / "campaigns.parquet")
    with pytest.raises(ValueError, match=r"table 'campaigns': column 'campaign_id', row 1 .*-2"):
        load_table("campaigns")


def test_a_repeated_key_is_refused(own_folder):
    table = pa.table({"campaign_id": [1, 1], "household_id": [2, 2]})
    pq.write_table(table, own_folder / "campaigns.parquet")
    for columns in (None, ["campaign_id", "household_id"]):
        with pytest.raises(ValueError, match="table 'campaigns'"):
            load_table("campaigns", columns)
    assert len(load_table("campaigns", ["campaign_id"])) == 2  # half a key may repeat
