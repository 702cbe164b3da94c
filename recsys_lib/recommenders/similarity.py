"""How alike the rows of a sparse matrix are, and sparse products shared out among the cores.

Rows are items described by their users, or users described by their items. A similarity is the inner product
of two rows after the right weighting, so that no matrix of all pairs is needed to use it.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, eye_array

from recsys_lib.scoring import top_k_blocks, workers

SIMILARITIES = ("cosine", "tfidf", "bm25")
BM25_SATURATION, BM25_LENGTH = 1.2, 0.75  # k₁ and b, as Robertson & Zaragoza recommend
_COLUMNS = 64  # of a dense factor at once: 2,500 rows of them fit the second-level cache
_ROWS = 256  # of a sparse factor at once: bounds the sparse result before it is made dense


def similarity_vectors(rows: csr_array, similarity: str = "cosine", shrinkage: float = 0.0) -> csr_array:
    """Weigh a matrix such that inner products of its rows are similarities.

    - "cosine": ``⟨a, b⟩ / √((‖a‖² + shrinkage) (‖b‖² + shrinkage))``
    - "tfidf": the same after every column is multiplied by ``log((1 + n_rows) / (1 + its rows))``: who has
      everything says little about what belongs together
    - "bm25": these column weights, and values that saturate: ``x (k₁ + 1) / (x + k₁ (1 − b + b · length))``,
      where length is the sum of the row divided by the mean sum. Rows are not normalised.

    Parameters
    ----------
    rows : csr_array of float32, shape (n_rows, n_columns)
        Non-negative weights.
    similarity : {"cosine", "tfidf", "bm25"}
    shrinkage : float
        At least 0: evidence a row is imagined to have besides, shared with nobody. It makes short rows less
        similar to all others. Not used by "bm25".

    Returns
    -------
    csr_array of float32, shape (n_rows, n_columns)
        A new matrix with the same stored places.

    References
    ----------
    Sarwar et al. (2001), "Item-based collaborative filtering recommendation algorithms", WWW.
    Robertson & Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond".
    """
    lengths = np.diff(rows.indptr)
    values = rows.data.astype(np.float64)
    if similarity != "cosine":
        idf = np.log((1 + rows.shape[0]) / (1 + np.bincount(rows.indices, minlength=rows.shape[1])))
    if similarity == "bm25":
        sums = np.bincount(rows_of(rows), weights=values, minlength=rows.shape[0])
        relative = 1 - BM25_LENGTH + BM25_LENGTH * sums / max(sums.mean(), np.finfo(float).tiny)
        values *= (BM25_SATURATION + 1) / (values + BM25_SATURATION * np.repeat(relative, lengths))
        values *= idf[rows.indices]
    else:
        if similarity == "tfidf":
            values *= idf[rows.indices]
        squares = np.bincount(rows_of(rows), weights=values**2, minlength=rows.shape[0]) + shrinkage
        values /= np.repeat(np.sqrt(np.where(squares > 0, squares, 1)), lengths)
    return csr_array((values.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape, copy=True)


def check_similarity(similarity: str, shrinkage: float) -> None:
    """Raise a ValueError if there is no such similarity or the shrinkage is not a finite number ≥ 0."""
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity must be one of {SIMILARITIES}, got {similarity!r}")
    if not (np.isscalar(shrinkage) and 0 <= shrinkage < np.inf):
        raise ValueError(f"shrinkage must be a finite number of at least 0, got {shrinkage!r}")


def check_neighbours(neighbours: int | None) -> None:
    """Raise a ValueError unless the number of neighbours is None (all) or an integer of at least 1."""
    if neighbours is not None and (not isinstance(neighbours, int | np.integer) or neighbours < 1):
        raise ValueError(f"neighbours must be None or an integer of at least 1, got {neighbours!r}")


def nearest(vectors: csr_array, k: int | None) -> csr_array:
    """Similarities of every row to its k most similar other rows; equals in ascending order of position.

    Parameters
    ----------
    vectors : csr_array, shape (n, width)
        From `similarity_vectors`.
    k : int or None
        None keeps all.

    Returns
    -------
    csr_array of float32, shape (n, n)
        Row i holds what is near to i, never i itself, and only similarities above 0.
    """
    n = vectors.shape[0]
    others = vectors.T.tocsr()
    if k is None:
        every = (vectors @ others).tocoo()
        apart = (every.row != every.col) & (every.data > 0)
        return csr_array((every.data[apart], (every.row[apart], every.col[apart])), shape=(n, n))
    best = top_k_blocks(
        lambda rows: sparse_product(vectors[rows], others),
        n,
        n,
        min(k, n),
        exclude=eye_array(n, format="csr", dtype=np.float32),
    )
    filled = best.scores > 0
    indptr = np.concatenate([[0], np.cumsum(filled.sum(1))])
    found = csr_array((best.scores[filled], best.ids[filled].astype(np.int32), indptr), shape=(n, n))
    found.sort_indices()
    return found


def sparse_product(left: csr_array, right: csr_array) -> np.ndarray:
    """Product of two sparse matrices as a dense array, its rows shared out among the cores."""
    result = np.empty((left.shape[0], right.shape[1]), np.float32)

    def run(rows: slice) -> None:
        (left[rows] @ right).toarray(out=result[rows])

    n_workers = workers.worker_count()
    parts = max(n_workers, -(-left.shape[0] // _ROWS))
    workers.run(run, workers.even_slices(left.shape[0], parts), n_workers)
    return result


def mixed_product(left: csr_array, right: np.ndarray) -> np.ndarray:
    """Product of a sparse and a dense matrix, columns shared out among the cores.

    A few columns at a time: the sparse factor then finds every row of them in the cache.
    """
    result = np.empty((left.shape[0], right.shape[1]), np.float32)

    def run(columns: slice) -> None:
        result[:, columns] = left @ np.ascontiguousarray(right[:, columns])

    n_workers = workers.worker_count()
    parts = max(n_workers, -(-right.shape[1] // _COLUMNS))
    workers.run(run, workers.even_slices(right.shape[1], parts), n_workers)
    return result


def squared_lengths(vectors: csr_array) -> np.ndarray:
    """Similarity of every row to itself, float32, shape (n,)."""
    squares = vectors.data.astype(np.float64) ** 2
    return np.bincount(rows_of(vectors), weights=squares, minlength=vectors.shape[0]).astype(np.float32)


def rows_of(matrix: csr_array) -> np.ndarray:
    """Row of every stored entry, in the order in which they are stored."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
