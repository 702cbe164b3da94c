"""The nightly fit: `python -m recsys_lib.online.nightly FOLDER STORE`; a running service takes its model."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import eye_array

from recsys_lib.data import Interactions, load_table, prepared_lines, product_texts
from recsys_lib.online.shop import Model, publish
from recsys_lib.online.stores import FORGET, KINDS, EventStore
from recsys_lib.recommenders import ItemKNN, Trending, weigh
from recsys_lib.recommenders.shared.weighting import seconds


def fit_shop(
    frame: pd.DataFrame,
    min_users: int = 10,
    half_life: float = 90.0,
    shares: tuple[float, float] = (1e-3, 0.06),
) -> Model:
    """Fit on lines of `household`, `item`, `time`, `value`: `ItemKNN` and `Trending`, joined by `shares`.

    Items of fewer than `min_users` households are left out. Shares are a, in units of the mean effect of S on
    a score, and b.
    """
    users_of = frame.groupby("item")["household"].nunique()
    frame = frame[frame["item"].isin(users_of.index[users_of >= min_users])]
    data = Interactions.from_frame(frame, "household", "item", "value", "time")
    near = ItemKNN(neighbors=100, include_self=False, half_life=half_life).fit(data)
    late = Trending(window=14.0, floor=1.0).fit(data)
    effect = float((near.weights_ @ near.neighbors_.sum(axis=1)).mean()) / data.n_items
    scale = np.float32(shares[0] / effect if effect > 0 else 0)
    effects = (near.neighbors_ * scale + eye_array(data.n_items, dtype=np.float32)).tocsr()
    ids, trend = (data.users.to_numpy(), data.items.to_numpy()), np.float32(shares[1]) * late.trend_
    newest = float(seconds(data.events["time"]).max())
    return Model(*ids, weigh(data, "count", half_life), effects, trend, newest, half_life)


def training_lines(lines: pd.DataFrame, store: EventStore) -> tuple[pd.DataFrame, int]:
    """Join old purchase lines and the store's events; the last event's number says up to where.

    `lines` has `household`, `item` and `time` (seconds since 1970); a `value` is added. What a household
    removed is left out up to that moment; of forgotten households, all that came before.
    """
    rows = pd.DataFrame(store.rows(), columns=["number", "household", "item", "kind", "time"])
    forgotten, events = rows[rows["kind"] == FORGET], rows[rows["kind"] != FORGET]
    old = lines[~lines["household"].isin(forgotten["household"])].assign(value=1.0, kind="purchase")
    every = pd.concat([old, events.assign(value=events["kind"].map(KINDS))], ignore_index=True)
    every["place"] = every["time"].rank(method="first")  # of one moment, the order of the numbers
    gone = every[every["kind"] == "removal"].groupby(["household", "item"])["place"].max().rename("gone")
    every = every.join(gone, on=["household", "item"])
    every = every[(every["kind"] != "removal") & ~(every["place"] <= every["gone"])]
    kinds = {"household": "int64", "item": "int64", "time": float, "value": float}  # also where one is empty
    return every[list(kinds)].astype(kinds), int(rows["number"].max()) if len(rows) else 0


def fit_and_publish(folder: str | Path, store: str) -> None:
    """Fit on the purchases of the whole year and the events of a store, and publish."""
    lines = prepared_lines()
    frame = lines.rename(columns={"household_id": "household", "product_id": "item"})
    frame = frame.assign(time=seconds(frame["transaction_timestamp"]))
    joined, after = training_lines(frame[["household", "item", "time"]], EventStore(store))
    model = fit_shop(joined)
    products = load_table("products").set_index("product_id").reindex(model.items)
    publish(model, product_texts(products), folder, after)


if __name__ == "__main__":
    fit_and_publish(*sys.argv[1:])
