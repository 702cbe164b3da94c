"""Skip items that are too short: no score exceeds the product of the two norms (Cauchy and Schwarz)."""

from typing import NamedTuple

import numpy as np

_SAMPLED_ITEMS = 512, 8192  # at least, at most
_SAMPLED_QUERIES = 32
_WORTHWHILE = 0.6  # share of the work that must be left at most, for the norms and the sorting to pay
_MIN_ITEMS = 4096


class NormOrder(NamedTuple):
    """Items by descending norm, so that the norm of the next item bounds all that are left."""

    items: np.ndarray  # shape (n_items,), positions of the items, longest first
    places: np.ndarray  # shape (n_items,), where each item comes in that order
    norms: np.ndarray  # shape (n_items,), in that order, float64


def norm_order(queries: np.ndarray, items: np.ndarray, k: int) -> NormOrder | None:
    """Order the items by norm where a sample says that skipping pays; None where it does not."""
    if len(items) < _MIN_ITEMS or not len(queries) or _work_left(queries, items, k) > _WORTHWHILE:
        return None
    norms = row_norms(items)
    order = np.argsort(-norms, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return NormOrder(order, places, norms[order])


def _work_left(queries: np.ndarray, items: np.ndarray, k: int) -> float:
    """Estimate the share of (query, item) pairs that a norm bound leaves to be scored.

    The k-th best score of a sampled query is estimated by the same quantile of its scores for sampled items.
    With k far below the sampling step that is too low a score, so the estimate errs towards not skipping.
    """
    least, most = _SAMPLED_ITEMS
    wanted = min(most, max(least, 2 * len(items) // k))  # so that the k best leave a trace in the sample
    some_queries, some_items = _sample(queries, _SAMPLED_QUERIES), _sample(items, wanted)
    place = max(0, len(some_items) - max(1, round(k / len(items) * len(some_items))))
    reached = np.partition(some_queries @ some_items.T, place, axis=1)[:, place]
    limits = row_norms(some_queries)[:, None] * row_norms(some_items)
    return float((limits >= reached[:, None]).mean())


def upper_bounds(query_norms: np.ndarray, item_norm: float, width: int) -> np.ndarray:
    """Bound the computed scores of items that are at most this long, rounding included.

    A product of `width` terms accumulated in float32 is off by at most width · 2⁻²⁴ of the product of the
    norms, whatever the order of the sum (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
    section 3.1); underflow adds at most the smallest normal number per term. Both are doubled here.
    """
    slack = 1 + 2 * (width + 2) * 2.0**-24
    return query_norms * (item_norm * slack) + 2 * width * float(np.finfo(np.float32).tiny)


def row_norms(factors: np.ndarray, chunk: int = 4096) -> np.ndarray:
    """Return the Euclidean norm of every row, in float64: squares of float32 can overflow or vanish there.

    Those of float64 can, too: 1e-150 covers what vanishes, and an infinite norm bounds all that overflows.
    """
    norms = np.empty(len(factors))
    for start in range(0, len(factors), chunk):
        block = factors[start : start + chunk].astype(np.float64)
        norms[start : start + chunk] = np.sqrt(np.einsum("ij,ij->i", block, block)) + 1e-150
    return norms


def _sample(factors: np.ndarray, wanted: int) -> np.ndarray:
    """Return up to `wanted` rows, evenly spread, in float32 at least."""
    wanted = min(len(factors), wanted)
    return factors[np.arange(wanted) * len(factors) // wanted].astype(np.result_type(factors, np.float32))
