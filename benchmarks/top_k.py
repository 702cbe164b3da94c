"""Exact top k side by side: the bare product, torch, implicit, faiss and recsys_lib.

Run from the repository root in the benchmark environment::

    .venv-bench/bin/python benchmarks/top_k.py            # everything, about ten minutes on two cores
    .venv-bench/bin/python benchmarks/top_k.py --quick    # the smallest catalogue only

Factors are either random (standard normal) or those of an ALS model of the Complete Journey data: items of
uneven norm, as in any real catalogue. For more items than the data has, real item factors are drawn with
replacement and each is varied by 5 % noise; norms and directions stay distributed as they were.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import numpy as np

N_QUERIES = 1024
ITEMS, WIDTHS, KS = (17_000, 200_000, 1_000_000), (64, 128), (10, 100)
PRODUCT, OURS = "bare product", "recsys_lib"
NAMES = (PRODUCT, "torch", "implicit", "faiss", OURS)
# implicit's documentation asks for a BLAS without threads of its own; implicit brings its threads.
ENVIRONMENT = {"implicit": {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}}
# A contender that needs longer than TOO_LONG seconds for all queries is timed on FEW_QUERIES of them and
# scaled up: all of them work off queries in blocks, so time is linear in their number.
FEW_QUERIES, TOO_LONG = 64, 2.0
COLORS = {PRODUCT: "#000000", "torch": "#E69F00", "implicit": "#009E73", "faiss": "#CC79A7", OURS: "#0072B2"}
MARKERS = {PRODUCT: "_", "torch": "s", "implicit": "^", "faiss": "D", OURS: "o"}


def main() -> None:
    """Measure all cells and the growth, print the tables, write JSON and chart."""
    items = ITEMS[:1] if "--quick" in sys.argv else ITEMS
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fit_als(Path(folder))
        shapes = itertools.product(("random", "real"), items, WIDTHS, KS)
        print("Time as a multiple of the bare product: median of the 5 rounds' ratios (least to most).")
        rows = [
            measure(
                {"factors": factors, "items": n, "width": d, "k": k, "queries": N_QUERIES, "folder": folder}
            )
            for factors, n, d, k in shapes
        ]
        growth = measure_growth(folder, max(items))
    packages = ("numpy", "torch", "scipy", "threadpoolctl", "implicit", "faiss-cpu")
    payload = {
        "machine": harness.machine(packages),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "note": f"scale: seconds measured on {FEW_QUERIES} queries, scaled up; ratio: to the bare product",
        "cells": rows,
        "growth": growth,
    }
    path = harness.save("top_k", payload)
    print(growth_table(growth))
    print("\n".join(verdict(rows, growth)))
    print(f"{payload['minutes']} minutes on {payload['machine']['processor']}")
    print(f"written: {path} and {draw(rows, growth)}")


def measure(cell: dict, names: tuple[str, ...] = NAMES, memory: bool = False) -> dict:
    """Time the contenders on one cell; where the bare product takes part, print the ratios to it."""
    build_factors(cell)
    results = harness.compare(
        __file__, cell, names, environment=ENVIRONMENT, memory=memory, parallel_setup=True
    )
    if PRODUCT in results:
        add_ratios(results)
        line = f"{cell['factors']:6} n={cell['items']:<9,} d={cell['width']:<3} k={cell['k']:<3}"
        line += f" {results[PRODUCT]['median']:7.4f} s"
        for name, result in results.items():
            if name != PRODUCT:
                low, high = result["ratio_range"]
                line += f" | {name} {result['ratio']:.2f} ({low:.2f} to {high:.2f})"
        print(line, flush=True)
    return {key: value for key, value in cell.items() if key != "folder"} | {"results": results}


def add_ratios(results: dict[str, dict]) -> None:
    """Compare within each round, where all ran shortly after one another; then take the median of rounds."""
    base = np.array(results[PRODUCT]["seconds"])
    for result in results.values():
        ratios = np.array(result["seconds"]) / base
        result["ratio"] = float(np.median(ratios))
        result["ratio_range"] = [float(ratios.min()), float(ratios.max())]


def measure_growth(folder: str, largest: int) -> list[dict]:
    """Time and extra memory of ours and of implicit as items grow, then as queries grow (d = 64, k = 10)."""
    base = {"factors": "random", "width": 64, "k": 10, "folder": folder}
    shapes = [(n, N_QUERIES) for n in (10_000, 30_000, 100_000, 300_000, 1_000_000) if n <= largest]
    shapes += [(17_000, queries) for queries in (64, 256, 4096, 16_384)]
    return [
        measure({**base, "items": n, "queries": queries}, (OURS, "implicit"), memory=True)
        for n, queries in shapes
    ]


def fit_als(folder: Path) -> None:
    """Fit ALS to the Complete Journey and store its factors; in a process with implicit's settings."""
    code = (
        "import sys, numpy, implicit.als, recsys_lib.data as data\n"
        "matrix = data.complete_journey_december().train.matrix\n"
        "for width in (64, 128):\n"
        "    model = implicit.als.AlternatingLeastSquares(factors=width, iterations=10, random_state=0)\n"
        "    model.fit(matrix, show_progress=False)\n"
        "    numpy.save(f'{sys.argv[1]}/users{width}.npy', model.user_factors)\n"
        "    numpy.save(f'{sys.argv[1]}/items{width}.npy', model.item_factors)\n"
    )
    variables = {**os.environ, **ENVIRONMENT["implicit"], "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=variables)


def build_factors(cell: dict) -> None:
    """Write queries and items of a cell to its folder, float32, unless they are the ones already there."""
    generator = np.random.default_rng(0)
    shapes = (cell["queries"], cell["width"]), (cell["items"], cell["width"])
    folder, stamp = Path(cell["folder"]), f"{cell['factors']} {shapes}"
    if (folder / "stamp").exists() and (folder / "stamp").read_text() == stamp:
        return
    if cell["factors"] == "random":
        queries, items = (generator.standard_normal(shape, np.float32) for shape in shapes)
    else:
        users, fitted = (np.load(folder / f"{side}{cell['width']}.npy") for side in ("users", "items"))
        queries = users[generator.choice(len(users), cell["queries"], replace=False)]
        items = fitted[generator.integers(0, len(fitted), cell["items"])]
        items *= 1 + 0.05 * generator.standard_normal(shapes[1], np.float32)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "items.npy", items)
    (folder / "stamp").write_text(stamp)


def make(name: str, cell: dict) -> Callable[[], object]:
    """Build a contender's call. Its first run, which is not timed, decides whether to do only a part."""
    queries, items = (np.load(f"{cell['folder']}/{side}.npy") for side in ("queries", "items"))
    contender = CONTENDERS[name](queries, items, cell["k"])
    few = queries[:FEW_QUERIES]

    def call() -> object:
        if call.scale is None:
            call.scale = 1
            share = len(queries) / len(few)
            if name not in (PRODUCT, OURS) and seconds(lambda: contender(few)) * share > TOO_LONG:
                call.scale = share
        return contender(queries if call.scale == 1 else few)

    call.scale = None
    return call


def seconds(call: Callable[[], object]) -> float:
    """Duration of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def product_call(queries: np.ndarray, items: np.ndarray, k: int) -> Callable:
    """Only the scores, nothing selected or kept: the fastest of three ways, which nobody can beat."""
    import torch
    from threadpoolctl import ThreadpoolController

    cores = torch.get_num_threads()
    controller = ThreadpoolController()
    scores = np.zeros((256, len(items)), np.float32)

    def whole_rows(queries: np.ndarray) -> None:
        for start in range(0, len(queries), 256):
            block = queries[start : start + 256]
            np.matmul(block, items.T, out=scores[: len(block)])

    def whole_rows_torch(queries: np.ndarray) -> None:
        right = torch.from_numpy(items).T
        for start in range(0, len(queries), 256):
            block = torch.from_numpy(queries[start : start + 256])
            torch.matmul(block, right, out=torch.from_numpy(scores[: len(block)]))

    def one_share_per_core(queries: np.ndarray) -> None:
        shares = np.array_split(queries, max(cores, -(-len(queries) // 512)))
        with controller.limit(limits=1), ThreadPoolExecutor(cores) as pool:
            list(pool.map(cache_blocks, shares))

    def cache_blocks(share: np.ndarray) -> None:
        block = np.empty((1024, len(share)), np.float32)
        for start in range(0, len(items), 1024):
            part = items[start : start + 1024]
            np.matmul(part, share.T, out=block[: len(part)])

    ways = [whole_rows, whole_rows_torch, one_share_per_core]

    def fastest(queries: np.ndarray) -> None:
        if len(ways) > 1:  # the first call, which is not timed
            few = queries[:256]
            ways[:] = [min(ways, key=lambda way: min(seconds(lambda: way(few)) for _ in range(2)))]
        ways[0](queries)

    return fastest


def torch_call(queries: np.ndarray, items: np.ndarray, k: int) -> Callable:
    """What most people write: a product and `topk`, in blocks of 256 queries."""
    import torch

    right = torch.from_numpy(items).T

    def call(queries: np.ndarray) -> None:
        for start in range(0, len(queries), 256):
            torch.topk(torch.from_numpy(queries[start : start + 256]) @ right, k)

    return call


def implicit_call(queries: np.ndarray, items: np.ndarray, k: int) -> Callable:
    """implicit's own top k, which its models use."""
    from implicit.cpu.topk import topk

    return lambda queries: topk(items, queries, k)


def faiss_call(queries: np.ndarray, items: np.ndarray, k: int) -> Callable:
    """faiss's exact index; building it is not timed."""
    import faiss

    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return lambda queries: index.search(queries, k)


def our_call(queries: np.ndarray, items: np.ndarray, k: int) -> Callable:
    """The library's function, checks included."""
    from recsys_lib.scoring import top_k

    return lambda queries: top_k(queries, items, k)


CONTENDERS = {
    PRODUCT: product_call,
    "torch": torch_call,
    "implicit": implicit_call,
    "faiss": faiss_call,
    OURS: our_call,
}


def growth_table(growth: list[dict]) -> str:
    """Time and extra memory, a line per shape."""
    head = [
        "growth (random, d=64, k=10)",
        *(f"{name} {unit}" for name in (OURS, "implicit") for unit in ("s", "MB")),
    ]
    lines = []
    for row in growth:
        line = [f"{row['items']:,} items, {row['queries']:,} queries"]
        for name in (OURS, "implicit"):
            result = row["results"][name]
            line += [
                f"{result['median']:.4f}",
                f"{result['extra_bytes'] / 1e6:.0f}" if result["extra_bytes"] is not None else "–",
            ]
        lines.append(line)
    return harness.table(head, lines)


def verdict(rows: list[dict], growth: list[dict]) -> list[str]:
    """Say for each claim whether it holds in this run."""
    others = [
        min(result["ratio"] for name, result in row["results"].items() if name not in (PRODUCT, OURS))
        / row["results"][OURS]["ratio"]
        for row in rows
    ]
    wins = sum(other > 1 for other in others)
    lines = [
        f"{OURS} is fastest in {wins} of {len(rows)} cells, the next best takes ≥ {min(others):.2f} × as long"
    ]
    for factors, least in (("random", 200_000), ("real", 0)):
        ratios = [
            row["results"][OURS]["ratio"]
            for row in rows
            if row["factors"] == factors and row["items"] >= least
        ]
        if ratios:
            spread = f"{min(ratios):.2f} to {max(ratios):.2f} times the bare product"
            lines.append(f"{factors} factors, n ≥ {least:,}: {spread}")
    memory = [row["results"][OURS]["extra_bytes"] for row in growth if row["queries"] == N_QUERIES]
    if all(memory):
        lines.append(f"extra memory over n: {min(memory) / 1e6:.0f} to {max(memory) / 1e6:.0f} MB")
    return lines


def draw(rows: list[dict], growth: list[dict]) -> Path:
    """Chart: ratios to the bare product for random and real factors, then growth of time and memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(13, 9), constrained_layout=True, width_ratios=(3, 2))
    for axis, factors in zip(axes[:, 0], ("random", "real"), strict=True):
        draw_ratios(axis, factors, [row for row in rows if row["factors"] == factors])
    axes[0, 0].legend(ncols=4, fontsize=9, loc="upper right")
    over_items = [row for row in growth if row["queries"] == N_QUERIES]
    for axis, field, unit, label in (
        (axes[0, 1], "median", 1, "seconds"),
        (axes[1, 1], "extra_bytes", 1e6, "peak extra memory (MB)"),
    ):
        for name in (OURS, "implicit"):
            values = [(row["results"][name][field] or 0) / unit for row in over_items]
            axis.plot(
                [row["items"] for row in over_items],
                values,
                MARKERS[name] + "-",
                color=COLORS[name],
                label=name,
            )
        axis.set(xscale="log", xlabel="items", ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0, 1].set(
        yscale="log", title="Time grows in proportion to the catalogue\n(1,024 queries, d = 64, k = 10)"
    )
    axes[1, 1].set(title="Extra memory does not grow with it", ylim=(0, None))
    path = harness.RESULTS / "top_k.png"
    figure.savefig(path, dpi=110)
    return path


def draw_ratios(axis: object, factors: str, rows: list[dict]) -> None:
    """One column per cell, one mark per contender, whiskers over the rounds."""
    for name in NAMES[1:]:
        results = [row["results"][name] for row in rows]
        ratios = np.array([result["ratio"] for result in results])
        low, high = np.array([result["ratio_range"] for result in results]).T
        spread = [ratios - low, high - ratios]
        axis.errorbar(
            range(len(rows)),
            ratios,
            spread,
            fmt=MARKERS[name],
            color=COLORS[name],
            label=name,
            capsize=2,
        )
    axis.axhline(1, color=COLORS[PRODUCT], linewidth=1)
    axis.text(-0.4, 1.02, "bare product", fontsize=9)
    ours = [row["results"][OURS]["ratio"] for row in rows]
    first = all(
        row["results"][OURS]["ratio"] <= min(row["results"][n]["ratio"] for n in NAMES[1:]) for row in rows
    )
    place = "fastest in every cell" if first else "not the fastest in every cell"
    axis.set(
        yscale="log",
        ylabel="time ÷ time of the bare product",
        title=f"{factors} factors: {OURS} is {place}, {min(ours):.2f} to {max(ours):.2f} × the bare product",
    )
    labels = [f"{row['items'] // 1000:,}k\nd={row['width']}\nk={row['k']}" for row in rows]
    axis.set_xticks(range(len(rows)), labels, fontsize=8)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(axis="y", alpha=0.3)


if __name__ == "__main__":
    if harness.is_worker():
        harness.serve(make)
    main()
