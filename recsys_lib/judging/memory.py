"""How much memory a piece of work takes in this process."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAMPLE_SECONDS = 0.01


@contextmanager
def extra_memory() -> Iterator[Callable[[], float]]:
    """Watch by how much this process grows at most inside the block.

    Memory that was freed before but is still held by the C library would be used again unseen; where that
    library is glibc, it is asked to give it back first.

    Yields
    ------
    callable
        Returns the growth of resident memory, in MiB: sampled a hundred times a second.
    """
    import psutil  # belongs to the course, not to the library

    _give_back()
    process, stop = psutil.Process(), threading.Event()
    before = highest = process.memory_info().rss

    def look() -> None:
        nonlocal highest
        highest = max(highest, process.memory_info().rss)

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (highest - before) / 2**20
    finally:
        look()
        stop.set()
        thread.join()


def _give_back() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
