"""How fit, lists and memory grow with the data: ours beside implicit's, each model in a process of its own.

Run from the repository root in the benchmark environment::

    .venv-bench/bin/python benchmarks/growth.py                  # 1 M and 10 M pairs: a quarter of an hour
    .venv-bench/bin/python benchmarks/growth.py --sizes 50M      # one size
    .venv-bench/bin/python benchmarks/growth.py --models ItemKNN EASE

The pairs are made up: popular items and busy users as heavy-tailed as in public logs, fifty tastes. A process
may take 18 GiB of addresses; what ends with a MemoryError, or says beforehand that it would not fit, is
written down as that. Peak memory is the whole process with the data in it.
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

SIZES = {  # users, items, pairs
    "1M": (6_040, 3_700, 1_000_000),
    "10M": (138_000, 27_000, 10_000_000),
    "50M": (1_000_000, 100_000, 50_000_000),
}
LIMIT = 18 << 30
SECONDS = 900
N_LISTS, K, THREADS = 10_000, 10, 2
IMPLICIT = ("implicit cosine kNN, 100 neighbors", "implicit ALS", "implicit BPR")
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
    pairs, found = load_npz(path), {}
    users = np.random.default_rng(1).permutation(pairs.shape[0])[:N_LISTS]
    start = time.perf_counter()
    try:
        recommend = (implicits if name in IMPLICIT else ours)(name, pairs)
        fitted = time.perf_counter()
        recommend(users)
        found = {"fit": fitted - start, "lists": time.perf_counter() - fitted, "n_lists": len(users)}
    except MemoryError as error:
        found = {"refused": str(error) or "MemoryError"}
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(found))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["1M", "10M"])
    parser.add_argument("--models", nargs="+", choices=OURS + IMPLICIT, default=OURS + IMPLICIT)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one)
        return
    kept = harness.RESULTS / "growth.json"  # what is not measured again stays
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            path = Path(folder) / "pairs.npz"
            save_npz(path, make_pairs(*SIZES[size]), compressed=False)
            for name in options.models:
                found.setdefault(name, {})[size] = taken = measure(name, path)
                print(f"{size:4} {name:36} {taken}", flush=True)
    kept.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
