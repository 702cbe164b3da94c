"""What contenders recommend and what it cost: fitted once, stored, judged the same way everywhere."""

import functools
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys_lib.data import Interactions
from recsys_lib.files import load_tensors, project_root, save_tensors
from recsys_lib.judging.benchmark import PUBLISHED, Benchmark
from recsys_lib.judging.contenders import Contender
from recsys_lib.judging.fingerprint import code_version, fingerprint
from recsys_lib.judging.memory import peak_growth
from recsys_lib.judging.results import result_row
from recsys_lib.metrics import bootstrap_interval, catalogue_metrics, ranking_metrics
from recsys_lib.recommenders import Recommender
from recsys_lib.recommenders.shared.arrays import to_numpy
from recsys_lib.scoring import top_k_blocks

LENGTH = 100  # items kept of every list
_USERS = 1024  # whose scores exist at the same time
VERSION = 2  # raise it when stored lists of before would be read wrongly
METRICS, K = ("ndcg", "map", "precision", "recall", "mrr"), 10


class Ranked(NamedTuple):
    """The lists of one contender, and what they cost.

    `ids` holds by task an int32 array of shape (n_users, at most 100), best first, empty slots −1;
    `recommend_seconds` by task the time for a hundred items for every user (scores that serve two tasks are
    computed once, and their time counts in both); `memory_mib` says how much the
    process grew at most while fitting and recommending, the interactions not counted.
    """

    ids: dict[str, np.ndarray]
    fit_seconds: float
    recommend_seconds: dict[str, float]
    memory_mib: float


def fit_and_rank(contender: Contender, benchmark: Benchmark) -> tuple[Recommender, Ranked]:
    """Fit a contender, list items for every user in each of its tasks, store the lists; return both.

    They are kept in `$RECSYS_LISTS`, by default build/lists of the project.
    """
    with peak_growth() as grown:
        start = time.perf_counter()
        model = contender.model.fit(benchmark.split.train, **contender.extra)
        fit_seconds = time.perf_counter() - start
        ids, seconds = _lists(model, {task: benchmark.tasks[task].exclude_seen for task in contender.tasks})
    ranked = Ranked(ids, fit_seconds, seconds, grown())
    key = _key(contender, benchmark)
    stamp = {"key": key, **{name: value for name, value in ranked._asdict().items() if name != "ids"}}
    save_tensors(_path(contender, benchmark, key), ids, stamp)
    return model, ranked


def ranked_lists(contender: Contender, benchmark: Benchmark) -> Ranked:
    """Return a contender's lists: the stored ones, or, where there are none, those of a fresh fit.

    Stored lists are used only if they were made from the same interactions, settings, extra input, device,
    code and package versions, and their checksum holds. A damaged file is rebuilt, with a warning.
    """
    key = _key(contender, benchmark)
    path = _path(contender, benchmark, key)
    if path.is_file():
        try:
            return _read(path, key, contender)
        except (OSError, ValueError) as error:
            warnings.warn(f"{error}; its lists are rebuilt", stacklevel=2)
    return fit_and_rank(contender, benchmark)[1]


def judge(
    name: str, ranked: Ranked, benchmark: Benchmark, *, resamples: int = 1000, seed: int = 0
) -> tuple[list[dict[str, Any]], dict[str, dict[str, np.ndarray]]]:
    """Measure a contender's lists in every task they were made for.

    Lists shorter than 10 are judged as if empty places followed: precision, say, divides by 10 all the same,
    so with 8 items it cannot exceed 0.8. What cannot be measured (nobody has anything to find, or
    nothing is listed) is a row without a value.

    Parameters
    ----------
    name : str
        The model's name in the rows.
    resamples, seed : int
        Settings of the bootstrap over users.

    Returns
    -------
    rows : list of dict
        Rows of results: each metric with its interval, `coverage`, `novelty`, `gini`, seconds and memory.
    per_user : dict of str to dict of str to float array, shape (n_users,)
        By task and metric; NaN for users with nothing to find.
    """
    rows, per_user = [], {}
    for task, listed in ranked.ids.items():
        ids = np.pad(listed, ((0, 0), (0, max(0, K - listed.shape[1]))), constant_values=-1)
        values = ranking_metrics(ids, benchmark.tasks[task].relevant, k=K, per_user=True)
        for metric in METRICS:
            of_users, interval = values[metric], [None]
            if not np.isnan(of_users).all():
                interval = bootstrap_interval(of_users, n_resamples=resamples, seed=seed)
            rows.append(result_row(task, name, f"{metric}@{K}", *interval))
        about = dict.fromkeys(("coverage", "novelty", "gini"))
        if (ids[:, :K] >= 0).any():
            about = catalogue_metrics(ids[:, :K], benchmark.split.train)
        plain = {
            **{f"{metric}@{K}": value for metric, value in about.items()},
            "fit_seconds": ranked.fit_seconds,
            "recommend_seconds": ranked.recommend_seconds[task],
            "memory_mib": ranked.memory_mib,
        }
        rows += [
            result_row(task, name, metric, value, n=0 if value is None else len(ids))
            for metric, value in plain.items()
        ]
        per_user[task] = values
    return rows, per_user


def published_rows(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return rows of results for published figures on the same split, each marked as "published: NAME"."""
    return [
        result_row(task, f"published: {name}", metric, value, n=benchmark.split.train.n_users)
        for task in benchmark.tasks
        if task in PUBLISHED
        for (name, metric), value in PUBLISHED[task].stack().items()
    ]


def _lists(model: Recommender, tasks: dict[str, bool]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """List items for every user, by task, with the seconds; `tasks` says whether seen items are left out."""
    ids, seconds = {task: [] for task in tasks}, dict.fromkeys(tasks, 0.0)
    n_users, n_items = model.matrix_.shape
    length = min(LENGTH, n_items)
    if len(tasks) == 1 or model._factors(np.arange(min(1, n_users))) is not None:
        for task, exclude in tasks.items():
            start = time.perf_counter()
            ids[task].append(to_numpy(model.recommend(k=length, exclude_seen=exclude).ids).astype(np.int32))
            seconds[task] = time.perf_counter() - start
    else:
        for users in np.array_split(np.arange(n_users), max(1, -(-n_users // _USERS))):
            start = time.perf_counter()
            scores = model.score(users)
            scoring = time.perf_counter() - start
            for task, exclude in tasks.items():
                start = time.perf_counter()
                seen = model.matrix_[users] if exclude else None
                best = top_k_blocks(scores.__getitem__, *scores.shape, length, exclude=seen)
                ids[task].append(to_numpy(best.ids).astype(np.int32))
                seconds[task] += scoring + time.perf_counter() - start
    return {task: np.concatenate(parts) for task, parts in ids.items()}, seconds


def _read(path: Path, key: str, contender: Contender) -> Ranked:
    ids, costs = load_tensors(path)
    if costs.pop("key", None) != key:
        raise ValueError(f"{path.name} holds the lists of something else")
    if set(ids) != set(contender.tasks) or set(costs) != set(Ranked._fields) - {"ids"}:
        raise ValueError(f"{path.name} lacks a task or a figure")
    return Ranked({task: ids[task] for task in contender.tasks}, **costs)  # in the order of tasks


def _path(contender: Contender, benchmark: Benchmark, key: str) -> Path:
    folder = Path(os.environ.get("RECSYS_LISTS") or project_root() / "build" / "lists")
    name = re.sub(r"[^a-z0-9]+", "_", f"{benchmark.name} {contender.name}".lower())
    return folder / f"{name}-{key[:16]}.safetensors"


def _key(contender: Contender, benchmark: Benchmark) -> str:
    """Checksum of everything the lists depend on."""
    seen = [benchmark.tasks[task].exclude_seen for task in contender.tasks]
    return fingerprint(
        VERSION, LENGTH, list(contender), seen, _of_train(benchmark.split.train), code_version()
    )


@functools.lru_cache(maxsize=4)
def _of_train(train: Interactions) -> str:
    """Checksum of interactions, taken once while they are at hand: every contender asks for it."""
    return fingerprint(train)
