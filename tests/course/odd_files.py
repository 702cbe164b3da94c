"""Files of odd shapes, as shops have them. Each function writes one and returns how a notebook reads it."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

Parameters = dict[str, str]
TIMED = {"own_time": "when"}
DAYS = pd.date_range("2023-01-01", periods=360).strftime("%Y-%m-%d").to_numpy()


def long_tail(path: Path) -> Parameters:
    """A web shop: 400 of 1,000 users bought once, the others 3 to 15 times; items by Zipf's law."""
    draw = np.random.default_rng(0)
    users = np.concatenate([np.arange(400), np.repeat(np.arange(400, 1_000), draw.integers(3, 16, 600))])
    return _write(path, users, draw.zipf(1.5, len(users)) % 200, draw.choice(DAYS, len(users)))


def one_each(path: Path) -> Parameters:
    """One purchase for every user: nobody of train comes back."""
    draw = np.random.default_rng(1)
    return _write(path, np.arange(300), draw.integers(0, 40, 300), draw.choice(DAYS, 300))


def habits_only(path: Path) -> Parameters:
    """A canteen: everybody takes their own five dishes every month, and never a new one."""
    rows = ((u, (u + i) % 20, day) for u, i, day in product(range(40), range(5), DAYS[::30]))
    return _write(path, *zip(*rows, strict=True))


def eight_items(path: Path) -> Parameters:
    """Fewer items than the ten places of a list."""
    return _random_shop(path, users=60, items=8, rows=900)


def ten_items(path: Path) -> Parameters:
    """As many items as places: every list holds the whole catalogue."""
    return _random_shop(path, users=60, items=10, rows=900)


def two_users(path: Path) -> Parameters:
    """Two users, thirty items."""
    return _random_shop(path, users=2, items=30, rows=120)


def everything_taken(path: Path) -> Parameters:
    """Everybody has every item, before and after: no item to tell from another."""
    return _write(path, *zip(*product(range(30), range(15), DAYS[::60]), strict=True))


def all_equal(path: Path) -> Parameters:
    """All users alike: the same twelve items, without times."""
    _write(path, *zip(*product(range(40), range(12), DAYS[:1]), strict=True))
    return {}


def equally_long(path: Path) -> Parameters:
    """Histories of the same length, no item taken twice."""
    rows = ((u, (u + 3 * month) % 40, DAYS[30 * month]) for u, month in product(range(60), range(12)))
    return _write(path, *zip(*rows, strict=True))


def newcomers_only(path: Path) -> Parameters:
    """News: the users of the last fifth are all new, and so are its articles."""
    rows = ((u, (7 * u + i) % 25 + 100 * (u >= 80), DAYS[3 * u]) for u, i in product(range(100), range(6)))
    return _write(path, *zip(*rows, strict=True))


def refunds(path: Path) -> Parameters:
    """Purchases, and returns of some of them as negative quantities."""
    draw = np.random.default_rng(2)
    _write(path, draw.integers(0, 150, 3_000), draw.zipf(1.4, 3_000) % 80, draw.choice(DAYS, 3_000))
    bought = pd.read_csv(path).assign(quantity=1)
    returned = bought.sample(400, random_state=2).assign(quantity=-1, when=DAYS[330])
    pd.concat([bought, returned]).to_csv(path, index=False)
    return {"own_value": "quantity", **TIMED}


def without_times(path: Path) -> Parameters:
    """Users and items, nothing else."""
    _random_shop(path, users=120, items=60, rows=2_000)
    pd.read_csv(path)[["user", "item"]].to_csv(path, index=False)
    return {}


def chinese(path: Path) -> Parameters:
    """Ids and column names in Chinese."""
    _random_shop(path, users=120, items=60, rows=2_500)
    table = pd.read_csv(path).replace({"u": "客", "i": "茶"}, regex=True)
    table.set_axis(["顾客", "商品", "日期"], axis=1).to_csv(path, index=False)
    return {"own_user": "顾客", "own_item": "商品", "own_time": "日期"}


def european(path: Path) -> Parameters:
    """Semicolons between the columns, and decimal commas."""
    _random_shop(path, users=120, items=60, rows=2_000)
    prices = np.round(np.linspace(0.25, 9.75, 2_000), 2)
    pd.read_csv(path).assign(price=prices).to_csv(path, index=False, sep=";", decimal=",")
    return {"own_value": "price", "own_delimiter": ";", "own_decimal": ",", **TIMED}


def _random_shop(path: Path, users: int, items: int, rows: int) -> Parameters:
    draw = np.random.default_rng(4)
    favorite = draw.integers(0, items, users)
    who = np.concatenate([np.arange(users), draw.integers(0, users, rows - users)])
    return _write(path, who, (favorite[who] + draw.zipf(1.6, rows)) % items, draw.choice(DAYS, rows))


def _write(path: Path, users: Iterable, items: Iterable, days: Iterable) -> Parameters:
    ids = {"user": [f"u{u}" for u in users], "item": [f"i{i}" for i in items]}
    pd.DataFrame({**ids, "when": days}).to_csv(path, index=False)
    return TIMED


ODD_FILES = (long_tail, one_each, habits_only, eight_items, ten_items, two_users, everything_taken, all_equal)
ODD_FILES += (equally_long, newcomers_only, refunds, without_times, chinese, european)
