"""Work on the host: which library multiplies, how many threads."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")
Product = Callable[[np.ndarray, np.ndarray, np.ndarray], object]

_lock = threading.Lock()
_inside = 0  # calls under way; the first one saves the settings, the last one restores them
_restore: list[Callable[[], None]] = []


def worker_count() -> int:
    """Threads to use: the cores this process may run on, or fewer where torch was told so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, torch.get_num_threads()))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep NumPy's and torch's thread pools at one thread, since the workers are the parallelism.

    One product per core, each followed by its own selection while the scores are in that core's cache,
    beats a product on all cores followed by a selection on one. Settings are restored on leaving, also
    when several threads are inside at once.
    """
    global _inside
    with _lock:
        if _inside == 0:
            threads = torch.get_num_threads()
            limiter = _controller().limit(limits=1)
            _restore[:] = [limiter.restore_original_limits, lambda: torch.set_num_threads(threads)]
            torch.set_num_threads(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                for undo in _restore:
                    undo()


def run(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> list[Result]:
    """Call the function on every task, one thread per worker; results in the order of the tasks."""
    with single_threaded():
        product()  # measured while nothing else runs
        if len(tasks) < 2 or workers == 1:
            return [function(task) for task in tasks]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, tasks))


def even_slices(total: int, parts: int) -> list[slice]:
    """Cut 0 … total into `parts` slices of nearly the same length; none for no parts."""
    edges = [total * part // parts for part in range(parts + 1)] if parts else []
    return [slice(start, stop) for start, stop in pairwise(edges)]


@functools.cache
def _controller() -> ThreadpoolController:
    # Finding the loaded libraries takes milliseconds, setting their threads takes microseconds.
    return ThreadpoolController().select(user_api="blas")


@functools.cache
def product() -> Product:
    """The faster of NumPy's and torch's float32 product on one thread, measured once per process.

    Call it inside `single_threaded`. torch is chosen only where it is clearly faster, so that noise does not
    make the last digits of scores differ from one run to the next.
    """
    generator = np.random.default_rng(0)
    left, right = generator.random((1024, 64), np.float32), generator.random((256, 64), np.float32).T
    out = np.empty((1024, 256), np.float32)
    seconds = {}
    for candidate in (numpy_product, _torch_product):
        times = []
        for _ in range(4):  # the first call is a warm-up; the fastest is the least disturbed
            start = time.perf_counter()
            candidate(left, right, out)
            times.append(time.perf_counter() - start)
        seconds[candidate] = min(times)
    return _torch_product if seconds[_torch_product] < 0.8 * seconds[numpy_product] else numpy_product


def numpy_product(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """NumPy's product, written into `out`."""
    np.matmul(left, right, out=out)


def _torch_product(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    if not left.flags.writeable or min(left.strides) < 0:  # torch takes neither
        return numpy_product(left, right, out)
    torch.matmul(torch.from_numpy(left), torch.from_numpy(right), out=torch.from_numpy(out))
