"""Top k on the host: one worker per core takes blocks of queries and scores them item block by item block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as pairs
from math import ceil

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.scoring import workers
from recsys_lib.scoring.best import GROUP, RunningBest, decode_ids, decode_scores, empty_keys
from recsys_lib.scoring.norms import NormOrder, norm_order, upper_bounds

DEFAULT_BYTES = 128 * 2**20
_MAX_QUERIES = 512  # per block; with _MAX_SCORES the block of scores is 2 MB of float32
_MAX_SCORES = 512 * 1024  # fits the second-level cache together with the factors, or nearly
_MAX_HEIGHT = 16384  # items per block when queries are few


@dataclass(frozen=True)
class Task:
    """One worker's share: a range of queries against a range of items."""

    queries: slice
    items: slice


def rank_factors(
    queries: np.ndarray,
    items: np.ndarray,
    k: int,
    seen: csr_array | None,
    max_bytes: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank checked factors; see `recsys_lib.scoring.top_k`."""
    dtype = np.result_type(queries, items, np.float32)
    n_workers = workers.worker_count()
    with workers.single_threaded():
        order = norm_order(queries, items, k)

    def run(task: Task) -> np.ndarray:
        buffer = np.empty(max_scores, dtype)
        block = np.ascontiguousarray(queries[task.queries], dtype)
        exclusion = _Seen(*excluded_pairs(seen, task.queries, None if order is None else order.places))
        if order is None:
            return _rank_in_order(block, items, k, exclusion, buffer, task)
        return _rank_by_norm(block, items, k, exclusion, buffer, task, order)

    n_block, max_scores = _block_shape(len(queries), k, dtype, max_bytes, n_workers)
    tasks = _tasks(len(queries), len(items), n_block, n_workers, split_items=order is None)
    return _gather(tasks, workers.run(run, tasks, n_workers), len(queries), k, dtype)


def rank_scores(
    scores: np.ndarray, k: int, seen: csr_array | None, first_query: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rank one block of given scores, shape (n_queries, n_items); the block is not changed."""
    n_workers = workers.worker_count()
    dtype = np.result_type(scores, np.float32)

    def run(task: Task) -> np.ndarray:
        source = scores[task.queries]
        buffer = np.empty(_MAX_SCORES, dtype)
        rows = slice(task.queries.start + first_query, task.queries.stop + first_query)
        exclusion = _Seen(*excluded_pairs(seen, rows))
        best = RunningBest(len(source), k, dtype)
        for start, stop, block in _blocks(task.items, len(source), buffer):
            block[: stop - start] = source[:, start:stop].T
            exclusion.blank(block, start, stop)
            best.offer(block, start)
        return best.result()

    tasks = _tasks(len(scores), scores.shape[1], _MAX_QUERIES, n_workers, split_items=False)
    return _gather(tasks, workers.run(run, tasks, n_workers), len(scores), k, dtype)


def _rank_in_order(
    queries: np.ndarray, items: np.ndarray, k: int, exclusion: _Seen, buffer: np.ndarray, task: Task
) -> np.ndarray:
    """Rank all items of the task, in ascending order of ids."""
    best = RunningBest(len(queries), k, buffer.dtype)
    for start, stop, block in _blocks(task.items, len(queries), buffer):
        _multiply(items[start:stop], queries, block)
        exclusion.blank(block, start, stop)
        best.offer(block, start)
    return best.result()


def _rank_by_norm(
    queries: np.ndarray,
    items: np.ndarray,
    k: int,
    exclusion: _Seen,
    buffer: np.ndarray,
    task: Task,
    order: NormOrder,
) -> np.ndarray:
    """Rank items in descending order of norm; a query is done when no item left can enter its list."""
    best = RunningBest(len(queries), k, buffer.dtype, ascending=False)
    keys = best.result()  # empty lists, filled as queries finish
    active = np.arange(len(queries))
    norms = order.query_norms[task.queries]
    start = 0
    while start < len(items) and len(active):
        stop, block = _next_block(start, len(items), len(active), buffer)
        positions = order.items[start:stop]
        _multiply(items[positions], queries, block)
        exclusion.blank(block, start, stop)
        best.offer(block, positions)
        start = stop
        if start == len(items):
            break
        open_ = np.flatnonzero(upper_bounds(norms, order.item_norms[start], items.shape[1]) >= best.worst)
        if len(open_) <= 0.75 * len(active):  # narrower blocks from here on
            keys[active] = best.result()
            best.keep(open_)
            exclusion = exclusion.keep(open_, len(active))
            active, queries, norms = active[open_], queries[open_], norms[open_]
    if len(active):
        keys[active] = best.result()
    return keys


def _multiply(items: np.ndarray, queries: np.ndarray, block: np.ndarray) -> None:
    """Write the scores of some items into the first rows of the block.

    By NumPy's product, always: its last digits may differ from torch's, and a choice by the clock would make
    them differ between two runs.
    """
    np.matmul(items.astype(block.dtype, copy=False), queries.T, out=block[: len(items)])


def _blocks(items: slice, n_queries: int, buffer: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Walk over the items: (start, stop, room for their scores as rows, with -inf below the last)."""
    start = items.start
    while start < items.stop:
        stop, block = _next_block(start, items.stop, n_queries, buffer)
        yield start, stop, block
        start = stop


def _next_block(start: int, end: int, n_queries: int, buffer: np.ndarray) -> tuple[int, np.ndarray]:
    height = min(_MAX_HEIGHT, len(buffer) // n_queries) // GROUP * GROUP  # items per block
    stop = min(start + height, end)
    rows = ceil((stop - start) / GROUP) * GROUP
    block = buffer[: rows * n_queries].reshape(rows, n_queries)
    block[stop - start :] = -np.inf
    return stop, block


def excluded_pairs(
    seen: csr_array | None, queries: slice, places: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the excluded (query, item) pairs of a range of queries, in the order in which items are visited.

    Queries are counted from the first of the range. `places` says where each item comes in that order;
    without it, items come by id.
    """
    if seen is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    bounds = seen.indptr[queries.start : queries.stop + 1].astype(np.int64)
    items = seen.indices[bounds[0] : bounds[-1]]
    items = items if places is None else places[items]
    order = np.argsort(items, kind="stable")
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[order], items[order]


@dataclass(frozen=True)
class _Seen:
    """The excluded (query, item) pairs of one task, from `excluded_pairs`."""

    rows: np.ndarray
    places: np.ndarray

    def blank(self, block: np.ndarray, start: int, stop: int) -> None:
        """Set the excluded scores of the items at places [start, stop) to -inf."""
        if not len(self.places):
            return
        first, last = np.searchsorted(self.places, (start, stop))
        if last > first:
            block[self.places[first:last] - start, self.rows[first:last]] = -np.inf

    def keep(self, queries: np.ndarray, n_queries: int) -> _Seen:
        """Return the pairs of some of the queries (positions, ascending), renumbered from 0."""
        if not len(self.rows):
            return self
        renumbered = np.full(n_queries, -1)
        renumbered[queries] = np.arange(len(queries))
        rows = renumbered[self.rows]
        return _Seen(rows[rows >= 0], self.places[rows >= 0])


def _block_shape(
    n_queries: int, k: int, dtype: np.dtype, max_bytes: int | None, n_workers: int
) -> tuple[int, int]:
    """Choose queries and scores per block, such that all workers together stay below `max_bytes`."""
    share = (DEFAULT_BYTES if max_bytes is None else max_bytes) // n_workers
    # A query costs its lists while they are merged: about five arrays of 2 k entries of 8 bytes. A score
    # costs itself and, in the first blocks, where every item is a candidate, its places in the work arrays.
    n_block = max(1, min(_MAX_QUERIES, n_queries, share // 2 // (80 * k)))
    max_scores = min(_MAX_SCORES, share // 2 // (16 * dtype.itemsize))
    return n_block, max(max_scores, GROUP * n_block)


def _tasks(n_queries: int, n_items: int, n_block: int, n_workers: int, *, split_items: bool) -> list[Task]:
    """Share the work evenly: blocks of queries for all workers, or spans of items where queries are few."""
    if n_queries == 0:
        return []
    n_blocks = ceil(n_queries / n_block)
    n_blocks = min(n_queries, ceil(n_blocks / n_workers) * n_workers)
    spans = 1
    if split_items and n_queries < 16 * n_workers:  # narrow products waste the processor: split the items
        n_blocks = ceil(n_queries / n_block)
        spans = max(1, min(n_workers, n_items // _MAX_HEIGHT))
    return [
        Task(q, i)
        for q, i in pairs(workers.even_slices(n_queries, n_blocks), workers.even_slices(n_items, spans))
    ]


def _gather(
    tasks: list[Task], results: list, n_queries: int, k: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Join the tasks' lists; spans of items of the same queries are merged."""
    keys = empty_keys(n_queries, k, dtype)
    for task, found in zip(tasks, results, strict=True):
        if task.items.start:
            found = np.sort(np.hstack([keys[task.queries], found]), axis=1)[:, : -k - 1 : -1]
        keys[task.queries] = found
    return decode_ids(keys), decode_scores(keys)
