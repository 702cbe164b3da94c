"""What a BERT of the course learns from: what a household had bought, and what it bought next."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from recsys_lib.data.interactions import check_columns
from recsys_lib.data.texts import NOTHING_BOUGHT

NEGATIVES = ("popularity", "uniform")
DAYS, RECENT = 180, 3  # before a moment: how far back purchases are read, and how many kinds are named
EVENT_COLUMNS = ["user", "item", "time"]


def purchase_pairs(
    events: pd.DataFrame,
    month: object,
    n: int,
    generator: np.random.Generator,
    *,
    negatives: str = "popularity",
) -> pd.DataFrame:
    """Draw pairs of a household and a product: one that it bought in a month, and one that it did not buy.

    Each positive pair gets a negative one of the same household. Drawn by popularity, the product of a
    negative pair comes from the same distribution as that of a positive one: then a model that knows only
    what sells well is no better than guessing, and what it learns is which household buys what.

    Parameters
    ----------
    events : pandas.DataFrame
        One row per purchase with `user`, `item` and `time`: `Interactions.events`.
    month : timestamp
        First instant of the month whose purchases are to be predicted.
    n : int
        Number of pairs, half of each kind; fewer if the month does not hold so many.
    negatives : str
        "popularity" or "uniform": how the products of negative pairs are drawn.

    Returns
    -------
    pandas.DataFrame
        Columns `user`, `item`, `label` (0 or 1); row 2 i + 1 is the negative pair to row 2 i. Only households
        with a purchase before the month.
    """
    check_columns(events, EVENT_COLUMNS)
    if n < 2 or negatives not in NEGATIVES:
        raise ValueError(f"n must be at least 2 and negatives one of {NEGATIVES}, got {n} and {negatives!r}")
    start = pd.Timestamp(month)
    time = events["time"].to_numpy()
    inside = (time >= start.to_datetime64()) & (time < (start + pd.DateOffset(months=1)).to_datetime64())
    known = events["user"].isin(events.loc[time < start.to_datetime64(), "user"].unique()).to_numpy()
    bought = events.loc[inside & known, ["user", "item"]].drop_duplicates()
    if bought.empty:
        raise ValueError(f"no household bought anything in the month from {start} that had bought before")
    n_items = int(events["item"].max()) + 1
    taken = np.sort(bought["user"].to_numpy(np.int64) * n_items + bought["item"].to_numpy())
    every = bought["user"].value_counts() == bought["item"].nunique()
    if every.any():
        raise ValueError(f"user {every.idxmax()} bought every product of the month from {start}")
    users, items = bought.to_numpy(np.int64)[generator.permutation(len(bought))[: n // 2]].T
    pool = bought["item"].to_numpy() if negatives == "popularity" else bought["item"].unique()
    others = generator.choice(pool, len(users)).astype(np.int64)
    wrong = np.arange(len(users))
    while len(wrong := wrong[np.isin(users[wrong] * n_items + others[wrong], taken)]):
        others[wrong] = generator.choice(pool, len(wrong))
    pairs = {"user": np.repeat(users, 2), "item": np.column_stack([items, others]).ravel()}
    return pd.DataFrame(pairs | {"label": np.tile([1, 0], len(users))})


def related_purchases(
    events: pd.DataFrame, pairs: pd.DataFrame, as_of: object, names: Sequence[str], vectors: np.ndarray
) -> list[str]:
    """Describe a household by those of its purchases that have most to do with a product.

    A year of purchases is too long for a text. Of the last 180 days, take the three kinds of products
    whose vectors are nearest to the product's, and state how often each was bought.

    Parameters
    ----------
    events : pandas.DataFrame
        As in `purchase_pairs`. Only purchases before `as_of` are read.
    pairs : pandas.DataFrame
        With `user` and `item`.
    as_of : timestamp
    names : sequence of str, shape (n_items,)
        A short name per item; items of the same name are one kind.
    vectors : np.ndarray, shape (n_items, width)
        Vectors of the names, of length 1.

    Returns
    -------
    list of str
        One text per pair, such as "bread 5 times; cakes once"; "no purchases yet" where there is none.

    References
    ----------
    Pi et al. (2020), "Search-based User Interest Modeling with Lifelong Sequential Behavior Data for
    Click-Through Rate Prediction", CIKM: first search a long history for what resembles the candidate.
    """
    check_columns(events, EVENT_COLUMNS)
    check_columns(pairs, ["user", "item"])
    n_items = 1 + max(int(events["item"].max()), int(pairs["item"].max()))
    if len(names) < n_items or len(vectors) != len(names):
        raise ValueError(
            f"{n_items} items need a name and a vector each, got {len(names)} and {len(vectors)}"
        )
    kinds, kind_names = pd.factorize(np.asarray(names, dtype=object))  # equal names are one kind
    end = pd.Timestamp(as_of)
    past = events[(events["time"] < end) & (events["time"] >= end - pd.Timedelta(days=DAYS))]
    past = past[past["user"].isin(pairs["user"].unique())]
    counts = past.assign(kind=kinds[past["item"]]).groupby(["user", "kind"]).size().reset_index(name="times")
    bought = {user: rows[["kind", "times"]].to_numpy() for user, rows in counts.groupby("user")}
    kind_vectors = np.asarray(vectors)[np.unique(kinds, return_index=True)[1]]
    texts = []
    for user, item in zip(pairs["user"], pairs["item"], strict=True):
        kinds_bought = bought.get(user)
        if kinds_bought is None:
            texts.append(NOTHING_BOUGHT)
            continue
        nearness = kind_vectors[kinds_bought[:, 0]] @ kind_vectors[kinds[item]]
        nearest = kinds_bought[np.argsort(-nearness, kind="stable")[:RECENT]]
        often = ((kind, "once" if times == 1 else f"{times} times") for kind, times in nearest)
        texts.append("; ".join(f"{kind_names[kind]} {words}" for kind, words in often))
    return texts
