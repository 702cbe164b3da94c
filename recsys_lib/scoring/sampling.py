"""A head start: guess from a sample of items how high a score must be to enter a query's list.

A list that starts empty lets many early items in that later ones push out again. With a good guess it takes
in little more than k items. The guess is checked: a query for which fewer than k items reach it is ranked
again without, so results stay exact, whatever the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt

import numpy as np

from recsys_lib.scoring.best import GROUP, bounds_from

_CANDIDATE = 3000  # the cost of taking in one item, in multiply-adds of a product (measured, about 70 ns)


def sample_size(n_items: int, n_factors: int, k: int) -> int:
    """Choose how many items to sample, a multiple of GROUP; 0 where starting from empty lists is cheaper.

    A sample of s items costs s · d multiply-adds and leaves about k + 4 √(k n / s) + n / s items to take in;
    an empty list takes in about k (1 + ln(n / first block)), and some more between two merges.
    """
    wanted = (2 * _CANDIDATE / max(1, n_factors) * sqrt(k * n_items)) ** (2 / 3)
    size = int(min(wanted, n_items / 4)) // GROUP * GROUP
    if size == 0:
        return 0
    taken = k + 4 * sqrt(k * n_items / size) + n_items / size
    from_empty = 1.3 * k * (1 + max(0.0, log(n_items / 1024)))
    return size if taken + size * n_factors / _CANDIDATE < 0.85 * from_empty else 0


def sampled_positions(n_items: int, size: int) -> np.ndarray:
    """Draw one item out of each of `size` equal spans, ascending: no period in the data can fool it."""
    spans = np.arange(size) + np.random.default_rng(0).random(size)
    return (spans * (n_items / size)).astype(np.int64)


def guess_bounds(
    score: Callable[[np.ndarray], np.ndarray], n_items: int, k: int, size: int, height: int
) -> np.ndarray:
    """Guess scores per query that slightly more than k items exceed; -inf where the sample has too few.

    Parameters
    ----------
    score : callable
        Takes positions of items, ascending; returns their scores, shape (n_positions, n_queries), with -inf
        for excluded pairs. May reuse its memory.
    n_items, k, size : int
        Items in all, items wanted, items to sample.
    height : int
        Most positions that `score` takes, a multiple of GROUP.
    """
    positions = sampled_positions(n_items, size)
    peaks = []
    for start in range(0, size, height):
        scores = score(positions[start : start + height])
        peaks.append(np.maximum.reduce(scores.reshape(-1, GROUP // 2, scores.shape[1]), axis=1))
    # Of the k best, k · size / n_items are expected in the sample; four standard deviations more are rare.
    expected = k * size / n_items
    return bounds_from(np.concatenate(peaks), int(expected + 4 * sqrt(expected) + 1))
