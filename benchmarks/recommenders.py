"""Recommenders side by side on the Complete Journey: quality, seconds and memory, beside implicit's.

Run from the repository root in the benchmark environment::

    .venv-bench/bin/python benchmarks/recommenders.py               # measure: eleven minutes on two cores
    .venv-bench/bin/python benchmarks/recommenders.py --tune        # search all settings again, on validation
    .venv-bench/bin/python benchmarks/recommenders.py --tune EASE   # those of one contender

A call fits on eleven months and recommends ten items to every household, once with items it had (task "all")
and once without (task "discovery"). December is the target. Settings were chosen on November, for both
libraries in the same way: out of a small grid the one with the highest product of the two tasks' NDCG@10. One
setting serves both tasks. A ratio of times counts only where the lists are at least as good; where a task's
are not, the table says so.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np

K = 10
ROUNDS = 3  # calls take seconds up to a minute
THREADS = 2
# implicit's documentation asks for a BLAS without threads of its own; implicit brings its threads.
IMPLICIT_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# What the search may choose from. Factors and iterations of ALS are fixed, so that times compare. Confidence
# is alpha · weight in implicit and, with offset 0, in ours.
ALS_GRID = {"weighting": ["binary", "log"], "regularization": [10.0, 15.0, 25.0], "alpha": [1.0, 2.0]}
KNN_GRID = {"neighbors": [100, 1000], "weighting": ["log", "count"]}
GRIDS: dict[str, dict[str, list]] = {
    "implicit ALS": ALS_GRID,
    "ALS": {**ALS_GRID, "offset": [0.0]},
    "implicit BPR": {"learning_rate": [0.01, 0.05], "regularization": [0.01], "iterations": [100]},
    "BPR": {"half_life": [None, 60.0]},
    "implicit cosine kNN": KNN_GRID,
    "implicit TF-IDF kNN": KNN_GRID,
    "implicit BM25 kNN": {"neighbors": [100, 1000], "weighting": ["count"]},
    "cosine kNN": {"neighbors": [None], "weighting": ["log", "count"]},
    "TF-IDF kNN": {"neighbors": [None], "weighting": ["log", "count"]},
    "BM25 kNN": {"neighbors": [None], "weighting": ["log", "count"]},
    "EASE": {
        "regularization": [30.0, 100.0, 300.0],
        "weighting": ["binary", "log"],
        "half_life": [None, 120.0],
    },
    "PersonalFrequency": {"half_life": [None, 30.0, 60.0, 120.0]},
    "Popularity": {},
}

# The search's choices, and NDCG@10 on November with them: all, discovery.
CHOSEN: dict[str, tuple[dict[str, Any], float, float]] = {
    "implicit ALS": ({"weighting": "log", "regularization": 15.0, "alpha": 1.0}, 0.2458, 0.0514),
    "ALS": ({"weighting": "log", "regularization": 15.0, "alpha": 1.0, "offset": 0.0}, 0.2453, 0.0517),
    "implicit BPR": (
        {"learning_rate": 0.01, "regularization": 0.01, "iterations": 100},
        0.1112,
        0.0185,
    ),
    "BPR": ({"half_life": 60.0}, 0.2018, 0.0456),
    "implicit cosine kNN": ({"neighbors": 100, "weighting": "count"}, 0.2491, 0.0421),
    "implicit TF-IDF kNN": ({"neighbors": 1000, "weighting": "count"}, 0.2407, 0.0447),
    "implicit BM25 kNN": ({"neighbors": 1000, "weighting": "count"}, 0.2847, 0.0455),
    "cosine kNN": ({"neighbors": None, "weighting": "count"}, 0.2629, 0.0447),
    "TF-IDF kNN": ({"neighbors": None, "weighting": "count"}, 0.2739, 0.0447),
    "BM25 kNN": ({"neighbors": None, "weighting": "count"}, 0.2951, 0.0459),
    "EASE": ({"regularization": 30.0, "weighting": "log", "half_life": 120.0}, 0.4019, 0.0518),
    "PersonalFrequency": ({"half_life": 120.0}, 0.4036, 0.0390),
    "Popularity": ({}, 0.1704, 0.0390),
}

# Ours beside which of implicit's.
COUNTERPART = {
    "ALS": "implicit ALS",
    "BPR": "implicit BPR",
    "cosine kNN": "implicit cosine kNN",
    "TF-IDF kNN": "implicit TF-IDF kNN",
    "BM25 kNN": "implicit BM25 kNN",
}


def build(name: str, settings: dict[str, Any]) -> Callable[[Any], Callable[[bool], np.ndarray]]:
    """Return fit(train), which returns recommend(exclude_seen), which returns ids of shape (n_users, K)."""
    return build_implicit(name, settings) if name.startswith("implicit") else build_ours(name, settings)


def build_ours(name: str, settings: dict[str, Any]) -> Callable:
    """One of the library's recommenders."""
    from recsys_lib.recommenders.als import ALS
    from recsys_lib.recommenders.bpr import BPR
    from recsys_lib.recommenders.ease import EASE
    from recsys_lib.recommenders.neighbors import ItemKNN
    from recsys_lib.recommenders.popularity import PersonalFrequency, Popularity

    if name.endswith("kNN"):
        similarity = name.removesuffix(" kNN").lower().replace("-", "")
        model: Any = ItemKNN(similarity=similarity, **settings)
    else:
        classes = ALS, BPR, EASE, PersonalFrequency, Popularity
        model = {kind.__name__: kind for kind in classes}[name](**settings)

    def fit(train: Any) -> Callable[[bool], np.ndarray]:
        model.fit(train)
        return lambda exclude_seen: model.recommend(k=K, exclude_seen=exclude_seen).ids

    return fit


def build_implicit(name: str, settings: dict[str, Any]) -> Callable:
    """One of implicit's, on weights that our library makes; that takes it some milliseconds."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
    from scipy.sparse import csr_matrix

    from recsys_lib.recommenders.shared.weighting import weigh

    settings = dict(settings)
    weighting = settings.pop("weighting", "binary")
    kind = name.removeprefix("implicit ")
    if kind == "ALS":
        model: Any = AlternatingLeastSquares(
            factors=64, iterations=15, random_state=0, num_threads=THREADS, **settings
        )
    elif kind == "BPR":
        model = BayesianPersonalizedRanking(factors=64, random_state=0, num_threads=THREADS, **settings)
    else:
        kinds = {"cosine": CosineRecommender, "TF-IDF": TFIDFRecommender, "BM25": BM25Recommender}
        model = kinds[kind.removesuffix(" kNN")](K=settings["neighbors"], num_threads=THREADS)

    def fit(train: Any) -> Callable[[bool], np.ndarray]:
        weights = csr_matrix(weigh(train, weighting))
        model.fit(weights, show_progress=False)
        users = np.arange(weights.shape[0])
        return lambda exclude_seen: model.recommend(
            users, weights, N=K, filter_already_liked_items=exclude_seen
        )[0]

    return fit


def make(name: str, cell: dict) -> Callable[[], None]:
    """In the worker: read the data, return the call, which leaves its lists and its two times in a file."""
    from recsys_lib.data import complete_journey_december

    train = complete_journey_december().train
    fit, folder = build(name, CHOSEN[name][0]), Path(cell["folder"])
    times: list[list[float]] = []

    def call() -> None:
        start = time.perf_counter()
        recommend = fit(train)
        fitted = time.perf_counter()
        lists = recommend(False), recommend(True)
        times.append([fitted - start, time.perf_counter() - fitted])
        np.savez(folder / f"{name}.npz", all=lists[0], discovery=lists[1], times=times)

    return call


def measure() -> dict[str, dict]:
    """Time all contenders in turn and judge their lists."""
    from recsys_lib.data import complete_journey_december

    names = list(CHOSEN)
    with tempfile.TemporaryDirectory() as folder:
        results = harness.compare(
            __file__,
            {"folder": folder},
            names,
            rounds=ROUNDS,
            memory=True,
            parallel_setup=True,
            environment={name: IMPLICIT_ENVIRONMENT for name in names if name.startswith("implicit")},
        )
        split = complete_journey_december()
        for name, result in results.items():
            stored = np.load(Path(folder) / f"{name}.npz")
            fit, recommend = np.median(stored["times"][1:], axis=0)  # the first call was the warm-up
            result.update(fit=fit, recommend=recommend, ndcg=judge(stored, split))
            result["settings"], *result["validation_ndcg"] = CHOSEN[name]
    compare_pairs(results)
    return results


def judge(lists: Any, split: Any) -> list[float]:
    """NDCG@10 of the lists with seen items, and of those without on what was new."""
    from recsys_lib.data import discovery
    from recsys_lib.metrics import ranking_metrics

    targets = {"all": split.test.matrix, "discovery": discovery(split)}
    return [ranking_metrics(lists[task], target, K)["ndcg"] for task, target in targets.items()]


def compare_pairs(results: dict[str, dict]) -> None:
    """Ratios of times within each round, where both ran shortly after one another; then the median."""
    for ours, theirs in COUNTERPART.items():
        if ours in results and theirs in results:
            ratios = np.array(results[ours]["seconds"]) / results[theirs]["seconds"]
            better = [a >= b for a, b in zip(results[ours]["ndcg"], results[theirs]["ndcg"], strict=True)]
            results[ours].update(
                ratio=float(np.median(ratios)),
                ratio_range=[float(ratios.min()), float(ratios.max())],
                at_least_as_good={"all": better[0], "discovery": better[1]},
            )


def tune(names: list[str]) -> None:
    """Try every setting of the grids on November and print the table for `CHOSEN`."""
    from recsys_lib.data import complete_journey_december

    split = complete_journey_december(validation=True)
    for name in names:
        best: tuple[float, Any] = (-1.0, None)
        for values in itertools.product(*GRIDS[name].values()):
            settings = dict(zip(GRIDS[name], values, strict=True))
            started = time.process_time()
            recommend = build(name, settings)(split.train)
            ndcg = judge({"all": recommend(False), "discovery": recommend(True)}, split)
            print(
                f"# {name} {settings} {ndcg[0]:.4f} {ndcg[1]:.4f} {time.process_time() - started:.1f} s CPU"
            )
            best = max(best, (ndcg[0] * ndcg[1], (settings, *(round(value, 4) for value in ndcg))))
        print(f'    "{name}": {best[1]},'.replace("'", '"'), flush=True)


def rows(results: dict[str, dict]) -> list[list[str]]:
    """The table's lines."""
    return [
        [
            name,
            *(f"{value:.3f}" for value in result["ndcg"]),
            f"{result['fit']:.2f}",
            f"{result['recommend']:.2f}",
            f"{result['median']:.2f}",
            ratio_text(result),
            "–" if result["extra_bytes"] is None else f"{result['extra_bytes'] / 1e6:,.0f}",
        ]
        for name, result in results.items()
    ]


def ratio_text(result: dict) -> str:
    """Time as a multiple of the counterpart's, and what that is worth."""
    if "ratio" not in result:
        return ""
    low, high = result["ratio_range"]
    good = result["at_least_as_good"]
    worse = [task for task in good if not good[task]]
    note = "" if not worse else f" but worse: {', '.join(worse)}"
    return f"{result['ratio']:.2f} ({low:.2f} to {high:.2f}){note}"


def draw(results: dict[str, dict], path: Path) -> None:
    """Quality against seconds, a panel per task; a line joins each of ours to its counterpart."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
    for axis, place, task in zip(axes, (0, 1), ("all", "discovery"), strict=True):
        heights = spread({name: result["ndcg"][place] for name, result in results.items()})
        for name, result in results.items():
            ours = not name.startswith("implicit")
            # Okabe and Ito's blue and vermilion, and two shapes: told apart without colour, too.
            color, marker = ("#0072B2", "o") if ours else ("#D55E00", "D")
            x, y = result["median"], result["ndcg"][place]
            axis.plot(x, y, marker, color=color, markersize=8, markerfacecolor=color if ours else "white")
            label = name.removeprefix("implicit ")
            axis.text(1.12 * x, heights[name], label, fontsize=9, color=color, verticalalignment="center")
            if "ratio" in result:
                other = results[COUNTERPART[name]]
                axis.plot([x, other["median"]], [y, other["ndcg"][place]], color="0.8", zorder=0)
        axis.set(xscale="log", xlabel="seconds to fit and recommend to 2,448 households (log scale)")
        axis.set(ylabel=f"NDCG@10, {task}", ylim=(0, 1.08 * max(heights.values())))
        axis.margins(x=0.15)
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_title("Items had before allowed", loc="left")
    axes[1].set_title("New items only", loc="left")
    for label, color, marker in (("recsys_lib", "#0072B2", "o"), ("implicit", "#D55E00", "D")):
        face = color if marker == "o" else "white"
        axes[1].plot([], [], marker, color=color, markerfacecolor=face, label=label)
    axes[1].legend(frameon=False, loc="lower left")
    figure.suptitle(headline(results))
    figure.savefig(path, dpi=110)


def spread(values: dict[str, float]) -> dict[str, float]:
    """Heights of labels: those of the values, moved up where two would overlap."""
    gap, heights, last = 0.028 * max(values.values()), {}, -np.inf
    for name in sorted(values, key=values.__getitem__):
        last = heights[name] = max(values[name], last + gap)
    return heights


def headline(results: dict[str, dict]) -> str:
    """What to see, as far as it holds in this run."""
    pairs = {name: result for name, result in results.items() if "ratio" in result}
    won = [
        name
        for name, result in pairs.items()
        if result["ratio"] <= 1 and all(result["at_least_as_good"].values())
    ]
    best = max((name for name in results), key=lambda name: results[name]["ndcg"][1])
    return (
        f"{len(won)} of {len(pairs)} models are faster than implicit's and at least as good in both tasks; "
        f"best discovery: {best}"
    )


def main() -> None:
    """Measure, print the table, write results/recommenders.json and results/recommenders.png; or tune."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tune", nargs="*", metavar="NAME", help="search settings instead; default: all")
    arguments = parser.parse_args()
    if arguments.tune is not None:
        return tune(arguments.tune or list(GRIDS))
    started = time.perf_counter()
    results = measure()
    head = ["contender", "NDCG all", "discovery", "fit s", "recommend s", "both s", "× implicit's", "MB"]
    print(harness.table(head, rows(results)))
    payload = {
        "machine": harness.machine(["numpy", "scipy", "torch", "implicit"]),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "note": f"{ROUNDS} rounds after a warm-up; recommend: both tasks; MB: peak added by the first call",
        "results": results,
    }
    path = harness.save("recommenders", payload)
    draw(results, path.with_suffix(".png"))
    print(headline(results))
    print(f"{payload['minutes']} minutes; written: {path.name} and {path.stem}.png")


if __name__ == "__main__":
    if harness.is_worker():
        harness.serve(make)
    main()
