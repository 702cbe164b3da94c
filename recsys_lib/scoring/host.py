"""Top k on the host: one worker per core takes blocks of queries and scores them item block by item block."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.scoring import checks, workers
from recsys_lib.scoring.best import GROUP, RunningBest, decode, empty_keys
from recsys_lib.scoring.norms import norm_order, row_norms, upper_bounds

DEFAULT_BYTES = 128 * 2**20
_MAX_QUERIES = 512  # per block; with _MAX_SCORES the block of scores is 2 MB of float32
_MAX_SCORES = 512 * 1024  # fits the second-level cache together with the factors, or nearly
_MAX_HEIGHT = 16384  # items per block when queries are few
Pairs = tuple[np.ndarray, np.ndarray]  # of a query and a place among the items, in the order of places


def rank_factors(
    queries: np.ndarray, items: np.ndarray, k: int, seen: csr_array | None, max_bytes: int | None, check: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rank factors; see `recsys_lib.scoring.top_k`."""
    if check:
        checks.check_values(queries, items)
    dtype = np.result_type(queries, items, np.float32)
    n_block, max_scores = _block_shape(len(queries), k, dtype, max_bytes)
    with workers.single_threaded():
        order = norm_order(queries, items, k)

    def rank(rows: slice, span: slice) -> np.ndarray:
        block, buffer = np.ascontiguousarray(queries[rows], dtype), np.empty(max_scores, dtype)
        lengths = None if order is None else row_norms(block)

        def fill(active: np.ndarray, start: int, stop: int, out: np.ndarray) -> int | np.ndarray:
            ids = start if order is None else order.items[start:stop]
            _multiply(items[start:stop] if order is None else items[ids], block[active], out)
            return ids

        def reach(place: int) -> np.ndarray:
            return upper_bounds(lengths, order.norms[place], items.shape[1])

        excluded = excluded_pairs(seen, rows, None if order is None else order.places)
        return _rank(fill, len(block), span, k, excluded, buffer, None if order is None else reach)

    return _share_out(rank, (len(queries), len(items)), n_block, k, dtype, split_items=order is None)


def rank_scores(scores: np.ndarray, k: int, seen: csr_array | None) -> tuple[np.ndarray, np.ndarray]:
    """Rank given scores, shape (n_queries, n_items), which are not changed."""
    dtype = np.result_type(scores, np.float32)

    def rank(rows: slice, span: slice) -> np.ndarray:
        def fill(_: np.ndarray, start: int, stop: int, out: np.ndarray) -> int:
            out[: stop - start] = scores[rows, start:stop].T
            return start

        buffer = np.empty(_MAX_SCORES, dtype)
        return _rank(fill, rows.stop - rows.start, span, k, excluded_pairs(seen, rows), buffer)

    return _share_out(rank, scores.shape, _MAX_QUERIES, k, dtype, split_items=False)


def _rank(
    fill: Callable[[np.ndarray, int, int, np.ndarray], int | np.ndarray], n_queries: int, items: slice,
    k: int, excluded: Pairs, buffer: np.ndarray, reach: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """Rank items block by block for one block of queries.

    `fill` writes the scores of the active queries for the items at places start … stop, and returns their ids
    as `RunningBest.offer` takes them. `reach` says how high the scores from a place on can be, where places
    are in descending order of norms: a query is done when no item left can enter its list.
    """
    best, (rows, places) = RunningBest(n_queries, k, buffer.dtype, ascending=reach is None), excluded
    keys = best.result()  # empty lists, filled as queries finish
    active, start = np.arange(n_queries), items.start
    while start < items.stop and len(active):
        stop, block = _next_block(start, items.stop, len(active), buffer)
        ids = fill(active, start, stop, block)
        if len(places):
            first, last = np.searchsorted(places, (start, stop))
            block[places[first:last] - start, rows[first:last]] = -np.inf
        best.offer(block, ids)
        start = stop
        if reach is None or start == items.stop:
            continue
        open_ = np.flatnonzero(reach(start)[active] >= best.worst)
        if len(open_) <= 0.75 * len(active):  # narrower blocks from here on
            keys[active] = best.result()
            best.keep(open_)
            numbers = np.full(len(active), -1)
            numbers[open_] = np.arange(len(open_))
            rows = numbers[rows]
            active, rows, places = active[open_], rows[rows >= 0], places[rows >= 0]
    keys[active] = best.result()
    return keys


def _multiply(items: np.ndarray, queries: np.ndarray, block: np.ndarray) -> None:
    """Write the scores of some items into the first rows of the block.

    By NumPy's product, always: its last digits may differ from torch's, and a choice by the clock would make
    them differ between two runs.
    """
    np.matmul(items.astype(block.dtype, copy=False), queries.T, out=block[: len(items)])


def _next_block(start: int, end: int, n_queries: int, buffer: np.ndarray) -> tuple[int, np.ndarray]:
    height = min(_MAX_HEIGHT, len(buffer) // n_queries) // GROUP * GROUP  # items per block
    stop = min(start + height, end)
    rows = ceil((stop - start) / GROUP) * GROUP
    block = buffer[: rows * n_queries].reshape(rows, n_queries)
    block[stop - start :] = -np.inf
    return stop, block


def excluded_pairs(seen: csr_array | None, queries: slice, places: np.ndarray | None = None) -> Pairs:
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


def _block_shape(n_queries: int, k: int, dtype: np.dtype, max_bytes: int | None) -> tuple[int, int]:
    """Choose queries and scores per block, such that all workers together stay below `max_bytes`."""
    share = (max_bytes or DEFAULT_BYTES) // workers.worker_count()
    # A query costs its lists while they are merged: about five arrays of 2 k entries of 8 bytes. A score
    # costs itself and, in the first blocks, where every item is a candidate, its places in the work arrays.
    n_block = max(1, min(_MAX_QUERIES, n_queries, share // 2 // (80 * k)))
    max_scores = min(_MAX_SCORES, share // 2 // (16 * dtype.itemsize))
    return n_block, max(max_scores, GROUP * n_block)


def _share_out(
    rank: Callable[[slice, slice], np.ndarray], shape: tuple[int, int], n_block: int, k: int, dtype: np.dtype,
    *, split_items: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Let all workers rank blocks of queries, or spans of items where queries are few; join the lists."""
    (n_queries, n_items), n_workers = shape, workers.worker_count()
    n_blocks, spans = ceil(n_queries / n_block), 1
    if split_items and n_queries < 16 * n_workers:  # narrow products waste the processor: split the items
        spans = max(1, min(n_workers, n_items // _MAX_HEIGHT))
    else:
        n_blocks = min(n_queries, ceil(n_blocks / n_workers) * n_workers)
    tasks = list(product(workers.even_slices(n_queries, n_blocks), workers.even_slices(n_items, spans)))
    keys = empty_keys(n_queries, k, dtype)
    for (rows, span), found in zip(tasks, workers.run(lambda task: rank(*task), tasks), strict=True):
        if span.start:  # the list of the same queries from the items before
            found = np.sort(np.hstack([keys[rows], found]), axis=1)[:, : -k - 1 : -1]
        keys[rows] = found
    return decode(keys)
