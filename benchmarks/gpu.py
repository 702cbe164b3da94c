"""Exact top k on a CUDA device: checked, then timed beside the bare product and two lines of torch.

Run from the repository root, on a machine with such a device::

    python benchmarks/gpu.py            # a minute or two; needs torch with Triton, SciPy and matplotlib
    python benchmarks/gpu.py --draw     # only the chart again, from the stored numbers, on any machine

Times are medians over rounds, taken by the device's own events; the contenders take turns within a round.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array, random_array

sys.path.insert(0, str(Path(__file__).parents[1]))
from recsys_lib.scoring import top_k

RESULTS = Path(__file__).parent / "results"
DEVICE, ROUNDS, BLOCK = "cuda", 11, 1024
PRODUCT, TORCH, OURS, UNCHECKED = "bare product", "torch", "recsys_lib", "recsys_lib, check_finite=False"
CELLS = [  # queries, items, width, k, factors
    (1024, 17_000, 64, 10, "random"),
    (1024, 200_000, 64, 10, "random"),
    (1024, 1_000_000, 64, 10, "random"),
    (1024, 1_000_000, 64, 10, "alike"),
    (1024, 1_000_000, 128, 100, "random"),
    (1024, 1_000_000, 128, 100, "alike"),
    (16_384, 200_000, 64, 10, "random"),
    (1024, 10_000_000, 64, 10, "random"),
    (1, 1_000_000, 64, 10, "random"),
    (32, 1_000_000, 64, 10, "random"),
    (1024, 200_000, 64, 500, "random"),
    (1, 17_000, 64, 10, "random"),
]


def main() -> None:
    """Check, time, print, store and draw."""
    started = time.perf_counter()
    torch.backends.cuda.matmul.allow_tf32 = False  # torch's own default, said aloud
    payload = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rounds": ROUNDS}
    print(payload, flush=True)
    payload["cases_checked"] = check_cases(200)
    payload["cells"] = [measure(cell) for cell in CELLS]
    payload["exclude"] = measure_exclude(50)
    payload["minutes"] = round((time.perf_counter() - started) / 60, 1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gpu.json").write_text(json.dumps(payload, indent=1) + "\n")
    draw(payload)
    print("\n".join(verdict(payload)), flush=True)


def check_cases(n_cases: int) -> int:
    """Compare with brute force in float64: integers to the last bit, half and single precision by score."""
    rng = np.random.default_rng(0)
    for case in range(n_cases):
        shape = (
            int(rng.integers(1, 200)),
            int(rng.choice([300, 3000, 9000])),
            int(rng.choice([5, 50, 64, 130])),
        )
        k, kind = int(rng.choice([1, 10, 60])), ("integers", "float32", "float16")[case % 3]
        queries, items = (draw_factors(rng, n, shape[2], kind) for n in shape[:2])
        seen = None
        if rng.random() < 0.6:
            seen = csr_array(random_array(shape[:2], density=rng.choice([0.01, 0.3, 0.99]), rng=rng))
        found = top_k(*(torch.from_numpy(part).to(DEVICE) for part in (queries, items)), k, exclude=seen)
        scores = queries.astype(np.float64) @ items.astype(np.float64).T
        if seen is not None:
            scores[seen.tocoo().coords] = -np.inf
        order = np.lexsort((np.broadcast_to(np.arange(shape[1]), scores.shape), -scores), axis=1)[:, :k]
        best = np.take_along_axis(scores, order, 1)
        ids, values = found.ids.cpu().numpy(), found.scores.cpu().numpy()
        assert np.allclose(values, best, rtol=1e-5, atol=1e-4), (case, kind, shape, k)
        own = np.where(ids >= 0, np.take_along_axis(scores, np.maximum(ids, 0), 1), -np.inf)
        assert np.allclose(own, best, rtol=1e-5, atol=1e-4), (case, kind, shape, k)
        if kind == "integers":
            assert np.array_equal(ids, np.where(best == -np.inf, -1, order)), (case, kind, shape, k)
    print(f"{n_cases} random cases equal brute force", flush=True)
    return n_cases


def draw_factors(rng: np.random.Generator, n: int, width: int, kind: str) -> np.ndarray:
    """Draw integers from -3 to 3, with ties in plenty, or standard normal numbers."""
    if kind == "integers":
        return rng.integers(-3, 4, (n, width)).astype(np.float32)
    return rng.standard_normal((n, width)).astype(kind)


def measure(cell: tuple) -> dict:
    """Time the contenders on one cell, in turns, and compare their lists."""
    n_queries, n_items, width, k, factors = cell
    queries, items = build(n_queries, n_items, width, factors)
    calls = {
        PRODUCT: lambda: [block @ items.T for block in queries.split(BLOCK)],
        TORCH: lambda: [(block @ items.T).topk(k) for block in queries.split(BLOCK)],
        OURS: lambda: top_k(queries, items, k),
        UNCHECKED: lambda: top_k(queries, items, k, check_finite=False),
    }
    if n_items * BLOCK * 4 * (n_queries // BLOCK) > 40e9:  # the products need not all be kept
        calls[PRODUCT] = lambda: [None for block in queries.split(BLOCK) if (block @ items.T) is None]
    reference = (queries[:BLOCK] @ items.T).topk(k).values
    for name in (OURS, UNCHECKED):
        first, again = calls[name](), calls[name]()
        assert torch.equal(first.ids, again.ids), (cell, name, "two runs differ")
        assert torch.allclose(first.scores[:BLOCK], reference, rtol=1e-4, atol=1e-4), (cell, name)
    times = take_turns(calls)
    row = dict(zip(("queries", "items", "width", "k", "factors"), cell, strict=True))
    row["milliseconds"] = {name: round(statistics.median(values), 4) for name, values in times.items()}
    row["range"] = {name: [round(min(values), 4), round(max(values), 4)] for name, values in times.items()}
    row["extra_mib"] = extra_memory(calls[OURS])
    ms = row["milliseconds"]
    print(
        f"{n_queries:6} x {n_items:>10,} d={width:<3} k={k:<3} {factors:6}",
        *(f"{name} {value:.3f}" for name, value in ms.items()),
        f"torch/ours {ms[TORCH] / ms[OURS]:.2f} ours/product {ms[OURS] / ms[PRODUCT]:.2f}",
        f"MiB {row['extra_mib']}",
        flush=True,
    )
    return row


def build(n_queries: int, n_items: int, width: int, factors: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw standard normal factors; "alike": items of uneven norm that come in families, 5 % apart."""
    generator = torch.Generator(device=DEVICE).manual_seed(0)
    queries = torch.randn(n_queries, width, device=DEVICE, generator=generator)
    if factors == "random":
        return queries, torch.randn(n_items, width, device=DEVICE, generator=generator)
    families = torch.randn(17_000, width, device=DEVICE, generator=generator)
    families *= torch.rand(17_000, 1, device=DEVICE, generator=generator) ** 2 + 0.1
    items = families[torch.randint(17_000, (n_items,), device=DEVICE, generator=generator)]
    return queries, items * (1 + 0.05 * torch.randn(items.shape, device=DEVICE, generator=generator))


def measure_exclude(per_query: int) -> dict:
    """Time 1,024 queries with some items each excluded, beside the same without."""
    rows = []
    for n_items in (200_000, 1_000_000):
        queries, items = build(1024, n_items, 64, "random")
        rng = np.random.default_rng(0)
        picks = np.sort(rng.integers(0, n_items, (1024, per_query)), axis=1)
        best = top_k(queries, items, per_query).ids.cpu().numpy()
        for kind, ids in (("random items", picks), ("the best items", np.sort(best, axis=1))):
            starts = np.arange(1025) * per_query
            seen = csr_array((np.ones(ids.size, np.int8), ids.ravel(), starts), (1024, n_items))
            seen.sum_duplicates()
            times = take_turns(
                {
                    "without": lambda queries=queries, items=items: top_k(queries, items, 10),
                    "with": lambda q=queries, i=items, seen=seen: top_k(q, i, 10, exclude=seen),
                }
            )
            ms = {name: round(statistics.median(values), 4) for name, values in times.items()}
            rows.append({"items": n_items, "per_query": per_query, "excluded": kind, "milliseconds": ms})
            print("exclude", n_items, kind, ms, f"{ms['with'] / ms['without'] - 1:+.1%}", flush=True)
    return rows


def take_turns(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Time every call once per round, in milliseconds; two rounds to warm up are not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 2):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            if turn > 1:
                times[name].append(start.elapsed_time(end))
    return times


def extra_memory(call: Callable[[], object]) -> int:
    """Return the MiB that a call takes at its peak, on top of what is there."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20)


def verdict(payload: dict) -> list[str]:
    """Say for each claim whether it holds in this run."""
    rows = [(row, row["milliseconds"]) for row in payload["cells"]]
    gains = [ms[TORCH] / ms[OURS] for _, ms in rows]
    large = [ms for row, ms in rows if row["queries"] >= 1024 and row["items"] >= 200_000]
    return [
        f"{payload['device']}: {min(gains):.2f} to {max(gains):.2f} times as fast as torch",
        f"1,024 × 200,000 or more: {min(ms[TORCH] / ms[OURS] for ms in large):.2f} times at least,"
        f" {max(ms[OURS] / ms[PRODUCT] for ms in large):.2f} of the bare product at most",
        f"unchecked, without waiting: {min(ms[TORCH] / ms[UNCHECKED] for _, ms in rows):.2f} times at least",
        f"working memory: {max(row['extra_mib'] for row, _ in rows)} MiB at most",
        f"{payload['minutes']} minutes",
    ]


def draw(payload: dict) -> None:
    """Chart: milliseconds of every contender in every cell, as multiples of the bare product."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(10, 5), constrained_layout=True)
    labels = [
        f"{row['queries']:,} × {row['items']:,}\nd={row['width']}, k={row['k']}, {row['factors']}"
        for row in payload["cells"]
    ]
    for name, color, marker in ((TORCH, "#E69F00", "s"), (OURS, "#0072B2", "o")):
        ratios = [row["milliseconds"][name] / row["milliseconds"][PRODUCT] for row in payload["cells"]]
        axis.plot(ratios, range(len(labels)), marker, color=color, label=name)
    axis.axvline(1, color="black", linewidth=1)
    axis.set(
        xscale="log",
        xlabel="time ÷ time of the bare float32 product",
        title=f"Exact top k on one {payload['device']}",
        xticks=(0.25, 0.5, 1, 2, 4),
    )
    axis.minorticks_off()
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.invert_yaxis()
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(RESULTS / "gpu.png", dpi=110)


if __name__ == "__main__":
    if "--draw" in sys.argv:
        draw(json.loads((RESULTS / "gpu.json").read_text()))
    else:
        main()
