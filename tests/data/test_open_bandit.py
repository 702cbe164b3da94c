"""The Open Bandit sample: a wheel made here stands for the one that pip brings."""

import zipfile

import pandas as pd
import pytest

from recsys_lib.data import load_open_bandit, open_bandit
from recsys_lib.files import sha256

PACKAGE = "no_such_package_in_any_index"
NAME = f"{PACKAGE}-0.4.1-py3-none-any.whl"


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    monkeypatch.setattr(open_bandit, "WHEEL", f"{PACKAGE}==0.4.1")
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def test_columns_get_their_names(raw, monkeypatch):
    with zipfile.ZipFile(raw / NAME, "w") as wheel:
        text = ",timestamp,item_id,position,click,propensity_score,more\n0,2019-11-24,5,1,0,0.25,x\n"
        wheel.writestr("obp/dataset/obd/bts/men/men.csv", text)
    monkeypatch.setattr(open_bandit, "WHEEL_SHA256", sha256(raw / NAME))
    expected = pd.DataFrame({"item": [5], "position": [1], "click": [0], "propensity": [0.25]})
    pd.testing.assert_frame_equal(load_open_bandit("bts", "men"), expected)


def test_without_a_source_the_way_to_get_it_is_told(raw):
    (raw / NAME).write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"whl could not be fetched .*: pip download"):
        load_open_bandit("random", "all")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="got 'greedy', 'men'"):
        load_open_bandit("greedy", "men")
