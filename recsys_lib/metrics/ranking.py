"""How good ranked lists are, judged against the items that turned out relevant."""

import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

# Work is done on blocks of users holding about this many list slots plus relevant items: large enough that
# Python costs nothing, small enough that a block's arrays stay near the cache and memory stays flat in users.
BLOCK_ENTRIES = 1 << 20


def ranking_metrics(
    ids: Any, relevant: Any, k: int = 10, *, per_user: bool = False, map_denominator: str = "relevant"
) -> dict[str, Any]:
    """Judge every user's top-k list against the items relevant to that user.

    With ``hit(i) = 1`` if the item at rank ``i`` (from 1) is relevant, else 0, and ``r`` relevant items:

    - ``precision = Σ_{i≤k} hit(i) / k``: an empty slot counts as a miss, so short lists are not favoured
    - ``recall = Σ_{i≤k} hit(i) / r``
    - ``hit_rate = 1`` if any of the k items is relevant, else 0
    - ``ndcg = Σ_{i≤k} hit(i) / log2(i + 1)``, divided by the same sum of a perfect list, which has
      ``min(k, r)`` hits at its top (binary relevance) [1]_
    - ``map = Σ_{i≤k} hit(i) · precision@i / r``: mean average precision, over *all* relevant items as in
      trec_eval's ``map_cut``. With more than k relevant items a perfect list then stays below 1;
      ``map_denominator="cutoff"`` divides by ``min(k, r)`` instead, which a perfect list brings to 1 [2]_
    - ``mrr = 1 / rank`` of the first relevant item within the k, 0 if there is none [3]_

    Parameters
    ----------
    ids : integer array or torch tensor, shape (n_users, at least k)
        Each user's items, best first. Empty slots hold -1; an item after an empty slot keeps its rank.
        Columns from k on are not looked at. A tensor on a GPU is copied to the host, where `relevant` is.
    relevant : scipy.sparse CSR (or an object with one as ``.matrix``), shape (n_users, n_items)
        Every stored value above 0 marks a relevant item; 0 and negative ones (a return) do not, NaN is
        refused. What is stored twice adds up. It is not changed.
    k : int
        The cutoff, k ≥ 1.
    per_user : bool
        Return one value per user instead of the mean.
    map_denominator : {"relevant", "cutoff"}
        Divide average precision by all relevant items, or by ``min(k, r)``.

    Returns
    -------
    dict of str to float
        precision, recall, hit_rate, ndcg, map, mrr: means over the users with at least one relevant item.
        With `per_user`, float64 arrays of shape (n_users,), NaN for users without a relevant item.

    References
    ----------
    .. [1] Järvelin & Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4).
    .. [2] Manning, Raghavan & Schütze (2008), "Introduction to Information Retrieval", section 8.4.
    .. [3] Voorhees (1999), "The TREC-8 Question Answering Track Report", TREC-8.

    Examples
    --------
    >>> relevant = sparse.csr_array([[1, 0, 1, 0], [0, 1, 0, 0]])
    >>> ids = np.array([[0, 1, 2], [3, 1, -1]])
    >>> {name: round(value, 3) for name, value in ranking_metrics(ids, relevant, k=3).items()}
    {'precision': 0.5, 'recall': 1.0, 'hit_rate': 1.0, 'ndcg': 0.775, 'map': 0.667, 'mrr': 0.75}
    """
    if map_denominator not in ("relevant", "cutoff"):
        raise ValueError(f"map_denominator must be 'relevant' or 'cutoff', got {map_denominator!r}")
    pattern = relevance_pattern(relevant)
    lists = check_ids(ids, k)
    if len(lists) != pattern.shape[0]:
        raise ValueError(f"ids has {len(lists)} rows but relevant has {pattern.shape[0]}: one row per user")

    blocks = [
        _block_metrics(lists[start:stop], _rows(pattern, start, stop), start, map_denominator)
        for start, stop in _user_blocks(pattern.indptr, lists.shape[1])
    ]
    metrics = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    if per_user:
        return metrics
    has_relevant = np.diff(pattern.indptr) > 0
    if not has_relevant.any():
        raise ValueError("no user has a relevant item, so there is nothing to average")
    return {name: float(values[has_relevant].mean()) for name, values in metrics.items()}


def check_ids(ids: Any, k: int | None = None) -> np.ndarray:
    """Return the first `k` columns of padded lists as an array on the host, or say what is wrong."""
    lists = ids.detach().cpu().numpy() if hasattr(ids, "detach") else np.asarray(ids)
    if lists.ndim != 2:
        raise ValueError(f"ids must have two dimensions (users, ranks), got shape {lists.shape}")
    if not np.issubdtype(lists.dtype, np.integer):
        raise ValueError(f"ids must be integers, got {lists.dtype}")
    if k is None:
        return lists
    if isinstance(k, bool) or not hasattr(k, "__index__") or operator.index(k) < 1:
        raise ValueError(f"k must be an integer of at least 1, got {k!r}")
    if k > lists.shape[1]:
        raise ValueError(f"k is {k} but ids has {lists.shape[1]} columns; pad shorter lists with -1")
    return lists[:, :k]


def check_range(lists: np.ndarray, n_items: int, first_row: int = 0) -> None:
    """Raise ValueError naming the first row with an id outside -1 … n_items - 1."""
    if lists.size == 0 or (lists.min() >= -1 and lists.max() < n_items):
        return
    row, column = np.argwhere((lists < -1) | (lists >= n_items))[0]
    raise ValueError(
        f"ids[{first_row + row}, {column}] is {lists[row, column]}, "
        f"outside 0 … {n_items - 1} (-1 marks an empty slot)"
    )


def check_distinct(sorted_lists: np.ndarray, first_row: int = 0) -> None:
    """Raise ValueError naming the first row that holds an item twice; rows must be sorted."""
    repeated = sorted_lists[:, 1:] == sorted_lists[:, :-1]
    if not repeated.any():
        return
    repeated &= sorted_lists[:, 1:] >= 0  # empty slots may repeat
    if repeated.any():
        row, column = np.argwhere(repeated)[0]
        raise ValueError(f"ids[{first_row + row}] holds item {sorted_lists[row, column]} more than once")


def relevance_pattern(relevant: Any) -> sparse.csr_array:
    """Return the values above 0 of a sparse matrix as sorted, unique ones; it is left alone itself."""
    matrix = getattr(relevant, "matrix", relevant)
    if not sparse.issparse(matrix):
        raise TypeError(f"relevant must be a scipy.sparse CSR matrix, got {type(matrix).__name__}")
    # What is stored twice adds up, in 64 bits, as it does in `Interactions`.
    matrix = matrix if matrix.format == "csr" else matrix.astype(np.float64).tocsr()
    # A new object: the flags scipy caches on the caller's matrix are neither trusted nor touched.
    pattern = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    if not pattern.has_canonical_format:
        pattern = pattern.astype(np.float64)
        pattern.sum_duplicates()
    indices, indptr, stored = pattern.indices, pattern.indptr, pattern.data > 0
    if not stored.all():
        nothing = np.flatnonzero(np.isnan(pattern.data))
        if len(nothing):
            user = np.searchsorted(indptr, nothing[0], side="right") - 1
            raise ValueError(f"user {user} and item {indices[nothing[0]]} have NaN: neither a hit nor none")
        indices, indptr = indices[stored], np.concatenate([[0], np.cumsum(stored)])[indptr]
    pattern = sparse.csr_array((np.ones(len(indices), np.int32), indices, indptr), shape=matrix.shape)
    pattern.has_canonical_format = True
    return pattern


def _user_blocks(indptr: np.ndarray, width: int) -> Iterator[tuple[int, int]]:
    """Cut the users into runs of about BLOCK_ENTRIES list slots plus relevant items (one run if no users)."""
    n_users = len(indptr) - 1
    work = indptr.astype(np.int64) + width * np.arange(n_users + 1, dtype=np.int64)
    inner = np.searchsorted(work, np.arange(BLOCK_ENTRIES, work[-1], BLOCK_ENTRIES))
    edges = np.concatenate([[0], np.unique(inner[(inner > 0) & (inner < n_users)]), [n_users]]).tolist()
    return itertools.pairwise(edges)


def _rows(pattern: sparse.csr_array, start: int, stop: int) -> sparse.csr_array:
    """Rows start … stop - 1, not checked for order again; in 32 bits, if they do, SciPy is much faster."""
    low, high = pattern.indptr[start], pattern.indptr[stop]
    dtype = np.int32 if max(pattern.shape[1], high - low) < 2**31 else np.int64
    indices = pattern.indices[low:high].astype(dtype, copy=False)
    indptr = (pattern.indptr[start : stop + 1] - low).astype(dtype, copy=False)
    shape = (stop - start, pattern.shape[1])
    block = sparse.csr_array((pattern.data[low:high], indices, indptr), shape=shape)
    block.has_canonical_format = True
    return block


def _find_hits(lists: np.ndarray, pattern: sparse.csr_array, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the relevant items in the lists: flat positions ``row * k + rank`` in order, and hits per row.

    Every row is sorted by item once, its rank packed into the low bits. Sorted rows show repeated items, and
    they make the lists a canonical CSR whose elementwise product with the relevant items, one compiled merge
    per row, leaves just the hits. That is several times faster than a binary search per slot.
    """
    n_rows, k = lists.shape
    check_range(lists, pattern.shape[1], first_row)
    bits = int(k - 1).bit_length()
    dtype = np.int32 if pattern.shape[1] << bits < 2**31 else np.int64
    packed = lists.astype(dtype)
    packed <<= bits
    packed |= np.arange(k, dtype=dtype)
    packed.sort(axis=1)
    items = packed >> bits
    check_distinct(items, first_row)

    packed &= (1 << bits) - 1
    packed += 1  # ranks from 1: a product of 0 would not be stored
    ranks, indptr = packed, np.arange(n_rows + 1, dtype=dtype) * k
    if n_rows and items[:, 0].min() < 0:
        filled = items >= 0
        items, ranks = items[filled], packed[filled]
        indptr[1:] = np.cumsum(filled.sum(axis=1))
    listed = sparse.csr_array((ranks.ravel(), items.ravel(), indptr), shape=pattern.shape)
    listed.has_canonical_format = True
    found = listed.multiply(pattern).tocsr()

    counts = np.diff(found.indptr)
    positions = np.repeat(np.arange(n_rows, dtype=found.data.dtype) * k - 1, counts) + found.data
    positions.sort()  # within a row the hits come in item order; this puts them in rank order
    return positions, counts


def _block_metrics(
    lists: np.ndarray, pattern: sparse.csr_array, first_row: int, map_denominator: str
) -> dict[str, np.ndarray]:
    """All metrics of a block of users, NaN where nothing is relevant."""
    n_rows, k = lists.shape
    positions, hits = _find_hits(lists, pattern, first_row)
    rows = np.repeat(np.arange(n_rows), hits)
    ranks = positions - rows * k + 1
    first_hit = np.cumsum(hits) - hits
    hits_so_far = np.arange(1, len(ranks) + 1) - first_hit[rows]

    n_relevant = np.diff(pattern.indptr).astype(np.float64)
    n_relevant[n_relevant == 0] = np.nan  # a user without relevant items has no recall; NaN spreads by itself
    known = n_relevant / n_relevant
    reachable = np.fmin(n_relevant, k) * known

    discount = 1 / np.log2(np.arange(2, k + 2))
    # Summed up front in rank order, as bincount does below, so that a perfect list scores exactly 1.
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.nan_to_num(reachable).astype(np.intp)]
    gain = np.bincount(rows, weights=discount[ranks - 1], minlength=n_rows)
    summed_precision = np.bincount(rows, weights=hits_so_far / ranks, minlength=n_rows)
    reciprocal = np.zeros(n_rows)
    reciprocal[hits > 0] = 1 / ranks[first_hit[hits > 0]]
    return {
        "precision": hits / k * known,
        "recall": hits / n_relevant,
        "hit_rate": (hits > 0) * known,
        "ndcg": gain / ideal,
        "map": summed_precision / (n_relevant if map_denominator == "relevant" else reachable),
        "mrr": reciprocal * known,
    }
