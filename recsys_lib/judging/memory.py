"""How much memory a piece of work takes."""

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

SAMPLE_SECONDS = 0.01
MEBIBYTE = 2**20
_settled = False  # whether what the imports made has been set aside


@contextmanager
def peak_growth() -> Iterator[Callable[[], float]]:
    """Watch by how much this process grows at most inside the block; yield what returns it so far, in MiB.

    Resident memory is sampled a hundred times a second. What was freed before but is still held by the C
    library would be used again unseen; where that library is glibc, it is asked to give it back first.
    """
    _give_back()
    process = psutil.Process()
    before = process.memory_info().rss
    with highest(lambda: process.memory_info().rss, SAMPLE_SECONDS) as peak:
        yield lambda: (peak() - before) / MEBIBYTE


@contextmanager
def highest(measure: Callable[[], int], interval: float) -> Iterator[Callable[[], int]]:
    """Call `measure` in a thread, every `interval` seconds and at both ends of the block.

    Give a function that returns the highest value so far. A peak shorter than the interval can be missed.
    """
    peak, stop = measure(), threading.Event()

    def look() -> None:
        nonlocal peak
        peak = max(peak, measure())

    def watch() -> None:
        while not stop.wait(interval):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak
    finally:
        stop.set()
        thread.join()
        look()


def _give_back() -> None:
    """Free what is in circles, and return free memory to the system.

    Looking through all that the imports made takes a quarter of a second each time, and none of it goes
    away: after the first time it is set aside. What was alive then is still freed by its last reference.
    """
    global _settled
    gc.collect()
    if not _settled:
        gc.freeze()
        _settled = True
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
