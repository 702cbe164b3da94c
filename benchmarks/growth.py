"""How fit, lists and memory grow with the data: ours beside implicit's, each model in a process of its own.

Run from the repository root in the benchmark environment::

    .venv-bench/bin/python benchmarks/growth.py                  # 1 M and 10 M pairs: a quarter of an hour
    .venv-bench/bin/python benchmarks/growth.py --sizes 50M      # one size
    .venv-bench/bin/python benchmarks/growth.py --models ItemKNN EASE
    .venv-bench/bin/python benchmarks/growth.py --models top_k    # catalogues of up to 10 M items, in a file

The pairs are made up: popular items and busy users as heavy-tailed as in public logs, fifty tastes. A process
may take 18 GiB of addresses; what ends with a MemoryError, or says beforehand that it would not fit, is
written down as that. Peak memory is the whole process with the data in it; `imported_mib` of it was there
before the data, for torch mostly. What was kept from another machine has a `note`, and a star in
the chart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from scipy.sparse import csr_matrix, load_npz, save_npz

from recsys_lib.files import atomic_path

SIZES = {  # users, items, pairs
    "1M": (6_040, 3_700, 1_000_000),
    "10M": (138_000, 27_000, 10_000_000),
    "50M": (1_000_000, 100_000, 50_000_000),
}
LIMIT = 18 << 30
SECONDS = 900
N_LISTS, K, THREADS = 10_000, 10, 2
IMPLICIT = ("implicit cosine kNN, 100 neighbors", "implicit ALS", "implicit BPR")
CATALOGUES, QUERIES, FACTORS = (1_000_000, 2_000_000, 5_000_000, 10_000_000), 32, 64
OURS = ("Popularity", "ItemKNN", "cosine kNN, 100 neighbors", "UserKNN", "EASE", "ALS", "BPR")


def make_pairs(n_users: int, n_items: int, n_pairs: int) -> csr_matrix:
    """Draw distinct (user, item) pairs, shape (n_users, n_items), values 1."""
    rng = np.random.default_rng(0)
    activity = np.cumsum(rng.lognormal(0, 1.1, n_users))
    popularity = np.cumsum(1 / (np.arange(n_items) + 50.0) ** 0.9)
    taste, found = rng.integers(50, size=n_users), np.empty(0, dtype=np.int64)
    while len(found) < n_pairs:
        missing = int((n_pairs - len(found)) * 1.3) + 1000
        user = np.searchsorted(activity, activity[-1] * rng.random(missing)).clip(max=n_users - 1)
        item = np.searchsorted(popularity, popularity[-1] * rng.random(missing))
        own = rng.random(missing) < 0.5  # half of what people take is of their taste
        item = np.where(own, item // 50 * 50 + taste[user], item).clip(max=n_items - 1)
        found = np.unique(np.concatenate([found, user * n_items + item]))
    kept = rng.permutation(len(found))[:n_pairs]
    user, item = np.divmod(found[kept], n_items)
    return csr_matrix((np.ones(n_pairs, np.float32), (user, item)), shape=(n_users, n_items))


def ours(name: str, pairs: csr_matrix) -> Callable[[np.ndarray], Any]:
    import pandas as pd

    from recsys_lib.data import Interactions
    from recsys_lib.recommenders import ALS, BPR, EASE, ItemKNN, Popularity, UserKNN

    models = {
        "Popularity": Popularity,
        "ItemKNN": ItemKNN,
        "cosine kNN, 100 neighbors": lambda: ItemKNN(neighbors=100, similarity="cosine", weighting="binary"),
        "UserKNN": UserKNN,
        "EASE": EASE,
        "ALS": ALS,
        "BPR": BPR,
    }
    train = Interactions(pairs, pd.RangeIndex(pairs.shape[0]), pd.RangeIndex(pairs.shape[1]))
    model = models[name]().fit(train)
    return lambda users: model.recommend(users, K)


def implicits(name: str, pairs: csr_matrix) -> Callable[[np.ndarray], Any]:
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import CosineRecommender

    if name == "implicit ALS":
        model: Any = AlternatingLeastSquares(factors=64, iterations=15, random_state=0, num_threads=THREADS)
    elif name == "implicit BPR":
        model = BayesianPersonalizedRanking(factors=64, iterations=100, random_state=0, num_threads=THREADS)
    else:
        model = CosineRecommender(K=100, num_threads=THREADS)
    model.fit(pairs, show_progress=False)
    return lambda users: model.recommend(users, pairs[users], N=K, filter_already_liked_items=True)


def one(name: str, path: str) -> None:
    """In a process of its own: fit, recommend, print what it took."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    fit, found = implicits if name in IMPLICIT else ours, {}
    fit(name, make_pairs(60, 40, 500))  # what is imported and started on the first call takes no time later
    imported = resident("VmRSS")
    pairs = load_npz(path)
    users = np.random.default_rng(1).permutation(pairs.shape[0])[:N_LISTS]
    start = time.perf_counter()
    try:
        recommend = fit(name, pairs)
        fitted = time.perf_counter()
        recommend(users)
        found = {"fit": fitted - start, "lists": time.perf_counter() - fitted, "n_lists": len(users)}
    except MemoryError as error:
        found = {"refused": str(error) or "MemoryError"}
    # not ru_maxrss: a process starts with the peak of the one that started it
    found |= {"peak_mib": resident("VmHWM"), "imported_mib": imported}
    print(json.dumps(found))


def resident(kind: str) -> int:
    """Return this process's memory in MiB: at its highest (VmHWM), now (VmRSS), its own now (RssAnon)."""
    return int(Path("/proc/self/status").read_text().split(f"{kind}:")[1].split()[0]) // 1024


def catalogue(path: str) -> None:
    """In a process of its own: rank a catalogue that lies in a file; print seconds and what memory it took.

    Read once before, so that the disk is not measured. What the file takes in memory is shared and can be
    dropped at any time, so it does not count.
    """
    from recsys_lib.scoring import top_k

    items = np.load(path, mmap_mode="r")
    queries = np.random.default_rng(2).standard_normal((QUERIES, FACTORS)).astype(np.float32)
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        top_k(queries, items, K)
        seconds.append(time.perf_counter() - start)
    lists = float(np.median(seconds[1:]))
    print(json.dumps({"lists": lists, "n_lists": QUERIES, "own_mib": resident("RssAnon")}))


def measure_catalogues(folder: Path) -> dict[str, Any]:
    """Rank each catalogue; also the exponent of the time, 1 where it grows like the catalogue."""
    found = {}
    for n_items in CATALOGUES:
        path = folder / "items.npy"
        items = np.lib.format.open_memmap(path, "w+", np.float32, (n_items, FACTORS))
        rng = np.random.default_rng(0)
        for start in range(0, n_items, 500_000):
            items[start : start + 500_000] = rng.standard_normal((500_000, FACTORS), dtype=np.float32)
        del items
        found[f"{n_items // 10**6}M items"] = taken = measure("top_k", path)
        print(f"{n_items:>12,} items {taken}", flush=True)
    done = [
        (n, taken["lists"]) for n, taken in zip(CATALOGUES, found.values(), strict=True) if "lists" in taken
    ]
    if len(done) > 1:
        sizes, seconds = np.log(np.array(done)).T
        found["exponent"] = round(float(np.polyfit(sizes, seconds, 1)[0]), 3)
        print("exponent", found["exponent"])
    return found


def measure(name: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    if name in IMPLICIT:  # its documentation asks for a BLAS without threads of its own
        environment |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"stopped": f"no answer in {SECONDS} s"}
    if done.returncode:
        return {"failed": f"exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def keep(found: dict[str, Any]) -> None:
    """Write what was found, and how each fit grows: exponent 1 where twice the pairs take twice as long."""
    shown = {name: taken for name, taken in found.items() if name in OURS + IMPLICIT}
    for taken in shown.values():
        done = [(SIZES[size][2], taken[size]["fit"]) for size in SIZES if "fit" in taken.get(size, {})]
        if len(done) > 1:
            pairs, seconds = np.log(np.array(done)).T
            taken["exponent"] = round(float(np.polyfit(pairs, seconds, 1)[0]), 2)
    harness.save("growth", found)
    draw(shown)


def draw(shown: dict[str, Any]) -> None:
    """Draw seconds of a fit and peak memory over the number of pairs; implicit's models are dashed."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
    colors = dict(zip(OURS, plt.colormaps["tab10"].colors, strict=False))
    for name, taken in shown.items():
        sizes = [size for size in SIZES if "fit" in taken.get(size, {})]
        kept = any("note" in taken[size] for size in sizes)
        style = {
            "color": colors[name.removeprefix("implicit ")],
            "ls": "--" if name in IMPLICIT else "-",
            "marker": "o",
            "mfc": "white" if name in IMPLICIT else None,
            "label": f"{name}{' *' if kept else ''} ({taken.get('exponent', '–')})",
        }
        for ax, what in zip(axes, ("fit", "peak_mib"), strict=True):
            ax.plot([SIZES[size][2] for size in sizes], [taken[size][what] for size in sizes], **style)
    for ax, title in zip(axes, ("Seconds of a fit", "Peak memory of the process, MiB"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="pairs of user and item", title=title)
        ax.grid(alpha=0.3)
    title = "model (exponent of the fit; * other cores)"
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", title=title)
    with atomic_path(harness.RESULTS / "growth.png") as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["1M", "10M"])
    known = (*OURS, *IMPLICIT, "top_k")
    parser.add_argument("--models", nargs="+", choices=known, default=known)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        catalogue(options.one[1]) if options.one[0] == "top_k" else one(*options.one)
        return
    kept = harness.RESULTS / "growth.json"  # what is not measured again stays
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    models = [name for name in options.models if name != "top_k"]
    with tempfile.TemporaryDirectory() as folder:
        if "top_k" in options.models:
            found["top_k"] = measure_catalogues(Path(folder))
        for size in options.sizes if models else ():
            path = Path(folder) / "pairs.npz"
            save_npz(path, make_pairs(*SIZES[size]), compressed=False)
            for name in models:
                found.setdefault(name, {})[size] = taken = measure(name, path)
                print(f"{size:4} {name:36} {taken}", flush=True)
    found["machine"] = harness.machine(("numpy", "scipy", "torch", "implicit"))
    keep(found)


if __name__ == "__main__":
    main()
