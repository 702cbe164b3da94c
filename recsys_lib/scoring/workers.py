"""Work on the host: how many threads, and how tasks are shared out to them."""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")

_lock = threading.Lock()
_inside = 0  # calls under way; the first one saves the settings, the last one restores them
_threads = 0  # torch's before the first of them
_restore: list[Callable[[], None]] = []
# Finding the loaded libraries takes milliseconds, setting their threads takes microseconds.
_controller = functools.cache(lambda: ThreadpoolController().select(user_api="blas"))


def worker_count() -> int:
    """Return the threads to use: the cores this process may run on, or fewer where torch was told so.

    Inside `single_threaded` too: what torch is kept at meanwhile says nothing about the workers.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _lock:
        return max(1, min(cores, _threads if _inside else torch.get_num_threads()))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep NumPy's and torch's thread pools at one thread, since the workers are the parallelism.

    One product per core, each followed by its own selection while the scores are in that core's cache,
    beats a product on all cores followed by a selection on one. Settings are restored on leaving, also
    when several threads are inside at once.
    """
    global _inside, _threads
    with _lock:
        if _inside == 0:
            _threads = torch.get_num_threads()
            limiter = _controller().limit(limits=1)
            _restore[:] = [limiter.restore_original_limits, lambda: torch.set_num_threads(_threads)]
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


def run(function: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    """Call the function on every task, one thread per worker; results in the order of the tasks."""
    workers = worker_count() if len(tasks) > 1 else 1
    with single_threaded():
        if workers == 1:
            return [function(task) for task in tasks]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, tasks))


def even_slices(total: int, parts: int) -> list[slice]:
    """Cut 0 … total into `parts` slices of nearly the same length; none for no parts."""
    edges = [total * part // parts for part in range(parts + 1)] if parts else []
    return [slice(start, stop) for start, stop in pairwise(edges)]
