"""A benchmark: one split with the tasks that models compete on, the same for every notebook."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_lib.data import (
    Interactions,
    Split,
    complete_journey_december,
    discovery,
    load_interactions,
    load_movielens_100k,
    load_table,
    movielens_100k_stratified,
    split_by_time,
    split_random,
    to_matrices,
)

# NDCG, MAP, precision and recall at 10 of the best-known public comparison, on the same split and with the
# settings its authors chose: the table in `examples/06_benchmarks` of the repository
# `recommenders-team/recommenders`.
PUBLISHED = {
    "movielens_100k": pd.DataFrame(
        {
            "BiVAE": (0.475, 0.146, 0.412, 0.219),
            "BPR": (0.442, 0.132, 0.388, 0.213),
            "LightGCN": (0.416, 0.121, 0.359, 0.196),
            "NCF": (0.396, 0.108, 0.347, 0.181),
            "SAR": (0.394, 0.114, 0.341, 0.185),
            "popularity": (0.252, 0.056, 0.229, 0.113),
            "SVD": (0.096, 0.013, 0.091, 0.033),
            "ALS": (0.044, 0.005, 0.048, 0.018),
        },
        index=["ndcg@10", "map@10", "precision@10", "recall@10"],
    ).T
}
HELD_OUT = 0.2  # of your data: the last fifth, or a random fifth where times are not known


class Task(NamedTuple):
    """What counts as a hit, and whether lists leave out what the user had in train."""

    relevant: csr_array
    exclude_seen: bool


class Benchmark(NamedTuple):
    """One data set, split once.

    Attributes
    ----------
    name : str
        "movielens", "complete_journey" or "own_data".
    split : Split
    tasks : dict of str to Task
        By the name under which results are saved.
    item_names : np.ndarray of str, shape (n_items,)
        Titles or product types, in the order of the split's items.
    """

    name: str
    split: Split
    tasks: dict[str, Task]
    item_names: np.ndarray


def open_benchmarks(dataset: str | Path = "both", **columns: str | None) -> dict[str, Benchmark]:
    """Open the benchmarks that a notebook's parameter `dataset` asks for.

    Parameters
    ----------
    dataset : str or Path
        "both", "movielens", "complete_journey", or the path of a CSV or Parquet file.
    **columns
        `user`, `item`, `value` and `time` of your file, as in `load_interactions`.

    Returns
    -------
    dict of str to Benchmark
        By name, in the order in which they are shown.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file cannot be used, as in `load_interactions`.
    """
    names = ["movielens", "complete_journey"] if str(dataset) == "both" else [dataset]
    opened = [open_benchmark(name, **columns) for name in names]
    return {benchmark.name: benchmark for benchmark in opened}


def open_benchmark(
    dataset: str | Path,
    user: str = "user",
    item: str = "item",
    value: str | None = None,
    time: str | None = None,
) -> Benchmark:
    """Open one benchmark; parameters as in `open_benchmarks`.

    The course's own data sets come with their fixed protocols. A file is split by time, or at random where
    it has no times. Where users take items again there are two tasks: all items, and new ones only.
    """
    if dataset == "movielens":
        split = movielens_100k_stratified()
        names = load_movielens_100k().items.set_index("item")["title"].reindex(split.train.items)
        return Benchmark(dataset, split, {"movielens_100k": Task(split.test.matrix, True)}, names.to_numpy())
    if dataset == "complete_journey":
        split = complete_journey_december()
        types = load_table("products", ["product_id", "product_type"]).set_index("product_id")["product_type"]
        names = types.reindex(split.train.items).str.title().fillna("?")
        return Benchmark(dataset, split, _tasks(dataset, split), names.to_numpy())
    split = _hold_out(load_interactions(dataset, user, item, value, time))
    return Benchmark("own_data", split, _tasks("own_data", split), split.train.items.astype(str).to_numpy())


def event_table(data: Interactions) -> pd.DataFrame:
    """Return the single interactions with ids instead of positions: columns user, item, value, time."""
    events = data.events
    return events.assign(user=data.users[events["user"]], item=data.items[events["item"]])


def _hold_out(data: Interactions) -> Split:
    """Split interactions: the last fifth by time, or a random fifth where times are not known."""
    if data.events is None:
        return to_matrices(split_random(data.to_frame(), HELD_OUT, 0), "user", "item", "value")
    frame = event_table(data)
    parts = split_by_time(frame, "time", frame["time"].quantile(1 - HELD_OUT))
    return to_matrices(parts, "user", "item", "value", "time")


def _tasks(name: str, split: Split) -> dict[str, Task]:
    new = discovery(split)
    if new.nnz == split.test.matrix.nnz:  # nothing is taken twice: one task
        return {name: Task(new, True)}
    return {f"{name}_all": Task(split.test.matrix, False), f"{name}_discovery": Task(new, True)}
