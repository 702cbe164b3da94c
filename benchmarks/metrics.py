"""Time ranking metrics against ranx, pytrec_eval and a plain Python loop.

Run as `.venv-bench/bin/python benchmarks/metrics.py`; takes two to four minutes on two cores, one more the
first time, while ranx compiles. Every contender computes the same six means (precision, recall, hit rate,
NDCG, MAP, MRR) from the same padded id array and CSR of relevant items, and its values are checked against
ours to 1e-9 in every call. Turning the arrays into a contender's own format is timed apart.

ranx takes part twice. "ranx (arrays)" gets NumPy arrays in numba lists, the form its inner functions work on:
the fastest way to use it. "ranx (Qrels, Run)" gets the objects its documentation shows; the largest cell
leaves it out, where building them means 12 million entries in numba dicts.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from scipy import sparse

from recsys_lib.metrics import ranking_metrics

CELLS = [{"users": users, "k": k} for users in (10_000, 100_000) for k in (10, 100)]
NAMES = ["precision", "recall", "hit_rate", "ndcg", "map", "mrr"]
N_ITEMS = 20_000
OURS, ARRAYS, OBJECTS = "recsys_lib", "ranx (arrays)", "ranx (Qrels, Run)"


def random_problem(users: int, k: int, seed: int = 0) -> tuple[np.ndarray, sparse.csr_array]:
    """Draw lists of k and 1 to 39 relevant items per user, from one stretch of 300 items: 1 in 10 hits."""
    rng = np.random.default_rng(seed)
    first = rng.integers(N_ITEMS, size=(users, 1))

    def distinct(count: int) -> np.ndarray:
        steps = rng.integers(1, 300 // count + 1, size=(users, count))
        return rng.permuted((first + np.cumsum(steps, axis=1)) % N_ITEMS, axis=1)

    ids, pool, counts = distinct(k), distinct(60), rng.integers(1, 40, users)
    columns = pool[np.arange(60) < counts[:, None]]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    relevant = sparse.csr_array((np.ones(len(columns), np.float32), columns, indptr), (users, N_ITEMS))
    relevant.sort_indices()
    return ids, relevant


def to_lists(ids: np.ndarray, relevant: sparse.csr_array) -> tuple[list[list[int]], list[set[int]]]:
    """Make lists and sets of Python integers, which a loop handles much faster than NumPy's."""
    indices, indptr = relevant.indices.tolist(), relevant.indptr.tolist()
    return ids.tolist(), [set(indices[low:high]) for low, high in itertools.pairwise(indptr)]


def loop_values(data: tuple[list[list[int]], list[set[int]]], k: int) -> list[float]:
    """Judge one user after the other, every metric straight from its formula."""
    totals = [0.0] * len(NAMES)
    for items, relevant in zip(*data, strict=True):
        hits = [rank for rank, item in enumerate(items[:k], start=1) if item in relevant]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
        values = (
            len(hits) / k,
            len(hits) / len(relevant),
            float(bool(hits)),
            sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
            sum(count / rank for count, rank in enumerate(hits, start=1)) / len(relevant),
            1 / hits[0] if hits else 0.0,
        )
        totals = [total + value for total, value in zip(totals, values, strict=True)]
    return [total / len(data[0]) for total in totals]


def to_dicts(ids: np.ndarray, relevant: sparse.csr_array) -> tuple[dict, dict]:
    """Make dicts of dicts by name, what pytrec_eval takes and ranx builds its objects from."""
    names = [str(item) for item in range(relevant.shape[1])]
    scores = (-np.arange(ids.shape[1], dtype=float)).tolist()
    lists, sets = to_lists(ids, relevant)
    judged = {str(user): {names[item]: 1 for item in items} for user, items in enumerate(sets)}
    run = {
        str(user): dict(zip([names[item] for item in items], scores, strict=True))
        for user, items in enumerate(lists)
    }
    return judged, run


def trec_eval_values(data: tuple[dict, dict], k: int) -> list[float]:
    """Return the means by pytrec_eval, averaged with its own function."""
    import pytrec_eval

    cut = {f"{name}.{k}" for name in ("P", "recall", "success", "ndcg_cut", "map_cut")}
    values = pytrec_eval.RelevanceEvaluator(data[0], cut | {"recip_rank"}).evaluate(data[1])
    names = [f"P_{k}", f"recall_{k}", f"success_{k}", f"ndcg_cut_{k}", f"map_cut_{k}", "recip_rank"]
    return [
        pytrec_eval.compute_aggregated_measure(name, [user[name] for user in values.values()])
        for name in names
    ]


def to_ranx_arrays(ids: np.ndarray, relevant: sparse.csr_array) -> tuple[Any, np.ndarray]:
    """Make arrays of (id, score) rows, in ranx's order: best first."""
    from numba.typed import List

    run = np.empty((*ids.shape, 2))
    run[:, :, 0], run[:, :, 1] = ids, -np.arange(ids.shape[1])
    judged = np.ones((relevant.nnz, 2))
    judged[:, 0] = relevant.indices
    return List(np.split(judged, relevant.indptr[1:-1])), run


def to_ranx_objects(ids: np.ndarray, relevant: sparse.csr_array) -> tuple[Any, Any]:
    """Make Qrels and Run, by way of dicts."""
    import ranx

    judged, run = to_dicts(ids, relevant)
    return ranx.Qrels(judged), ranx.Run(run)


def ranx_values(data: tuple[Any, Any], k: int) -> list[float]:
    """Return the means by ranx, on all cores."""
    import ranx

    values = ranx.evaluate(*data, [f"{name}@{k}" for name in NAMES])
    return [float(value) for value in values.values()]


CONTENDERS: dict[str, tuple[Callable, Callable]] = {
    OURS: (lambda *data: data, lambda data, k: list(ranking_metrics(*data, k).values())),
    ARRAYS: (to_ranx_arrays, ranx_values),
    OBJECTS: (to_ranx_objects, ranx_values),
    "pytrec_eval": (to_dicts, trec_eval_values),
    "plain loop": (to_lists, loop_values),
}


def make(name: str, cell: dict) -> Callable[[], None]:
    """In the worker: convert the data, leave the time that took in a file, return the evaluation."""
    convert, evaluate = CONTENDERS[name]
    ids, relevant = random_problem(cell["users"], cell["k"])
    expected = list(ranking_metrics(ids, relevant, cell["k"]).values())
    convert(ids[:100], relevant[:100])  # imports and compiles
    start = time.perf_counter()
    data = convert(ids, relevant)
    seconds = time.perf_counter() - start
    (Path(cell["folder"]) / f"{name}.json").write_text(json.dumps(seconds))

    def call() -> None:
        np.testing.assert_allclose(evaluate(data, cell["k"]), expected, rtol=0, atol=1e-9)

    return call


def measure(cell: dict) -> dict:
    """Time evaluation (all rounds) and conversion (once) of every contender on one cell."""
    names = [name for name in CONTENDERS if name != OBJECTS or cell["users"] * cell["k"] <= 1_000_000]
    with tempfile.TemporaryDirectory() as folder:
        results = harness.compare(__file__, {**cell, "folder": folder}, names)
        for name in names:
            results[name]["convert"] = json.loads((Path(folder) / f"{name}.json").read_text())
    ours = results[OURS]["median"]
    for result in results.values():
        result["ratio"] = result["median"] / ours
        result["ratio_with_conversion"] = (result["median"] + result["convert"]) / ours
    return {**cell, "results": results}


def rows(measured: list[dict]) -> list[list[str]]:
    """List the lines of the table: milliseconds, and how many times as long as ours."""
    return [
        [
            f"{cell['users']:>7,} users, k = {cell['k']:>3}: {name}",
            f"{1000 * result['median']:,.1f}",
            f"{1000 * result['low']:,.1f} - {1000 * result['high']:,.1f}",
            f"{result['ratio']:.1f}",
            "-" if name == OURS else f"{1000 * result['convert']:,.0f}",
            "-" if name == OURS else f"{result['ratio_with_conversion']:.1f}",
        ]
        for cell in measured
        for name, result in cell["results"].items()
    ]


def draw(measured: list[dict], path: Path) -> None:
    """Draw one panel per cell; a dot per contender for the evaluation, a diamond for both steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained", sharex=True)
    for axis, cell in zip(axes.flat, measured, strict=True):
        for row, (name, result) in enumerate(cell["results"].items()):
            alone = 1000 * result["median"]
            both = alone if name == OURS else alone + 1000 * result["convert"]
            # Okabe and Ito's blue and vermilion, and two shapes: told apart without colour, too. Dots and
            # not bars, because a bar's length means nothing on a logarithmic scale.
            axis.plot([alone, both], [row, row], color="0.7", zorder=1)
            axis.plot(alone, row, "o", color="#0072B2", markersize=8, label="evaluation alone")
            if name != OURS:
                label = "with conversion into its own format"
                axis.plot(both, row, "D", color="#D55E00", markerfacecolor="white", markersize=7, label=label)
            axis.text(alone, row - 0.22, f"{result['ratio']:.1f} ×", ha="center", fontsize=9)
        axis.set(xscale="log", xlabel="milliseconds, log scale", ylim=(len(cell["results"]) - 0.5, -0.6))
        axis.margins(x=0.08)
        axis.set_yticks(range(len(cell["results"])), cell["results"])
        axis.set_title(f"{cell['users']:,} users, k = {cell['k']}", loc="left")
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2, frameon=False)
    nearest = [min(r["ratio"] for n, r in cell["results"].items() if n != OURS) for cell in measured]
    figure.suptitle(
        f"Six ranking metrics: the next fastest takes {min(nearest):.1f} to {max(nearest):.1f} times as long "
        "as recsys_lib\n(numbers: evaluation alone, as a multiple of ours)"
    )
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure every cell, print the table, write results/metrics.json and results/metrics.png."""
    start = time.perf_counter()
    measured = []
    for cell in CELLS:
        print(f"{cell['users']:,} users, k = {cell['k']} …", flush=True)
        measured.append(measure(cell))
    head = ["contender", "evaluate ms", "range", "x ours", "convert ms", "x ours, both"]
    print(harness.table(head, rows(measured)))
    machine = harness.machine(["numpy", "scipy", "numba", "ranx", "pytrec-eval-terrier"])
    path = harness.save("metrics", {"machine": machine, "cells": measured})
    draw(measured, path.with_suffix(".png"))
    print(f"{path.name} and {path.stem}.png written after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    if harness.is_worker():
        harness.serve(make)
    main()
