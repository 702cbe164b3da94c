"""A benchmark: one split with the tasks that models compete on, the same for every notebook."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
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
from recsys_lib.data.own_data import read_interactions
from recsys_lib.data.tables import file_path

# NDCG, MAP, precision and recall at 10 on the same split: the table "Algorithm Comparison" in the README of
# `recommenders-team/recommenders` at its commit b02c95e (September 2025). Its authors ran all models for 15
# epochs with settings from the literature, and did not tune them.
PUBLISHED = {"movielens_100k": pd.read_csv(Path(__file__).with_name("published.csv"), index_col=0)}
HELD_OUT = 0.2  # of your data: the last fifth, or a random fifth where times are not known


class Task(NamedTuple):
    """What counts as a hit, and whether lists leave out what the user had in train."""

    relevant: csr_array
    exclude_seen: bool


class Benchmark(NamedTuple):
    """One data set, split once.

    `name` is "movielens", "complete_journey" or "own_data"; `tasks` go by the names under which results are
    saved; `item_names` are titles or product types, in the order of the split's items; `unjudged` says by the
    names of further tasks, which are not in `tasks`, why they cannot be judged on these data.
    """

    name: str
    split: Split
    tasks: dict[str, Task]
    item_names: np.ndarray
    unjudged: Mapping[str, str] = MappingProxyType({})


def open_benchmarks(dataset: str | Path = "both", **columns: str | None) -> dict[str, Benchmark]:
    """Open the benchmarks that a notebook's parameter `dataset` asks for.

    Parameters
    ----------
    dataset : str or Path
        "both", "movielens", "complete_journey", or the path of a CSV or Parquet file.
    **columns
        `user`, `item`, `value`, `time`, `delimiter` and `decimal` of your file, and what is raised where it
        cannot be used: as in `load_interactions`.

    Returns
    -------
    dict of str to Benchmark
        By name, in the order in which they are shown.
    """
    names = ["movielens", "complete_journey"] if str(dataset) == "both" else [dataset]
    opened = [open_benchmark(name, **columns) for name in names]
    return {benchmark.name: benchmark for benchmark in opened}


def open_benchmark(
    dataset: str | Path, user: str = "user", item: str = "item", value: str | None = None,
    time: str | None = None, delimiter: str | None = None, decimal: str = ".",
) -> Benchmark:  # fmt: skip
    """Open one benchmark; parameters as in `open_benchmarks`.

    The course's own data sets come with their fixed protocols. A file is split by time, or at random where
    it has no times; each part then means what its values say, so that a return in test takes nothing back
    from train and is never a hit. Where users take items again there are two tasks: all items, and new ones
    only.
    """
    if dataset == "movielens":
        split = movielens_100k_stratified()
        names = load_movielens_100k().items.set_index("item")["title"].reindex(split.train.items)
        return Benchmark(dataset, split, {"movielens_100k": Task(split.test.matrix, True)}, names.to_numpy())
    if dataset == "complete_journey":
        split = complete_journey_december()
        types = load_table("products", ["product_id", "product_type"]).set_index("product_id")["product_type"]
        names = types.reindex(split.train.items).str.title().fillna("?")
        return Benchmark(dataset, split, basket_tasks(dataset, split)[0], names.to_numpy())
    return _open_file(dataset, user, item, value, time, delimiter=delimiter, decimal=decimal)


def event_table(data: Interactions) -> pd.DataFrame:
    """Return the single interactions with ids instead of positions: columns user, item, value, time."""
    events = data.events
    return events.assign(user=data.users[events["user"]], item=data.items[events["item"]])


def _open_file(
    dataset: str | Path, user: str, item: str, value: str | None, time: str | None, **form: str | None
) -> Benchmark:
    """Hold out the last fifth of a file by time, or a random fifth of its pairs where times are not known."""
    try:
        path = file_path(dataset)
    except FileNotFoundError as error:
        known = "'both', 'movielens', 'complete_journey' or the path of a file"
        raise FileNotFoundError(f"{error}; dataset is {known}") from error
    if time is None:
        data = load_interactions(path, user, item, value, **form)
        frame, names = data.to_frame(), ("user", "item", "value")
        parts, how = split_random(frame, HELD_OUT, 0), f"a random {HELD_OUT:.0%} of the pairs"
        advice = "users with two different items or more, so that one can be held out"
    else:
        frame = read_interactions(path, user, item, value, time, **form)
        names = (str(user), str(item), value if value is None else str(value), str(time))
        cut = _last_fifth(frame if value is None else frame[frame[names[2]] > 0], names[3], path)
        parts, how = split_by_time(frame, names[3], cut), f"the rows from {cut} on"
        advice = "a longer period"
        if frame.drop_duplicates(list(names[:2])).duplicated(names[0]).any():
            advice += "; or leave the time out, for a random split"
    split = to_matrices(parts, *names)
    if not split.train.matrix.nnz:
        raise ValueError(
            f"{path}: of {len(frame):,} rows, all that come before those held out ({how}) were taken back by "
            "returns: there is nothing to learn from"
        )
    if not split.test.matrix.nnz:
        raise ValueError(
            f"{path}: nothing can be judged. Held out are {how}, of {len(frame):,} rows, "
            f"{frame[names[0]].nunique():,} users and {frame[names[1]].nunique():,} items; none of them is "
            "an interaction (a value above 0 that no return took back) of a user and an item that the other "
            f"rows know. What would help: {advice}"
        )
    tasks, unjudged = basket_tasks("own_data", split)
    return Benchmark("own_data", split, tasks, split.train.items.astype(str).to_numpy(), unjudged)


def _last_fifth(frame: pd.DataFrame, time: str, path: Path) -> pd.Timestamp:
    """Return the moment from which on the share of rows comes nearest to HELD_OUT, but not all rows."""
    moments, counts = np.unique(frame[time].to_numpy(), return_counts=True)
    if len(moments) < 2:
        raise ValueError(
            f"{path}, column {time!r}: all interactions are of {moments[0]}, so no part is later than the "
            "others. What would help: leave the time out, for a random split"
        )
    later = 1 - np.cumsum(counts)[:-1] / len(frame)
    return pd.Timestamp(moments[1:][np.argmin(np.abs(later - HELD_OUT))])


def basket_tasks(name: str, split: Split) -> tuple[dict[str, Task], dict[str, str]]:
    """Return what can be judged on a split that holds something out, and why something cannot."""
    new = discovery(split)
    if new.nnz == split.test.matrix.nnz:  # nothing is taken twice: one task
        return {name: Task(new, True)}, {}
    tasks = {f"{name}_all": Task(split.test.matrix, False)}
    if not new.nnz:
        why = "nobody took anything new in the part held out: all of it are items that the user had before"
        return tasks, {f"{name}_discovery": why}
    return tasks | {f"{name}_discovery": Task(new, True)}, {}
