"""How alike the rows of a sparse matrix are.

Rows are items described by their users, or users described by their items. A similarity is the inner product
of two rows after the right weighting, so that no matrix of all pairs is needed to use it.
"""

from typing import Annotated

import numpy as np
from scipy.sparse import csr_array, eye_array

from recsys_lib.recommenders.shared.checks import check_memory, one_of
from recsys_lib.recommenders.shared.products import rows_of, sparse_product, squared_lengths
from recsys_lib.scoring import top_k_blocks

Similarity = Annotated[str, one_of("cosine", "tfidf", "bm25")]
BM25_SATURATION, BM25_LENGTH = 1.2, 0.75  # k₁ and b, as Robertson & Zaragoza recommend


def similarity_vectors(rows: csr_array, similarity: str = "cosine") -> csr_array:
    """Weigh a matrix, shape (n_rows, n_columns), so that inner products of its rows are similarities.

    - "cosine": ``⟨a, b⟩ / (‖a‖ ‖b‖)``
    - "tfidf": the same after every column is multiplied by ``log((1 + n_rows) / (1 + its rows))``: a user who
      has everything says little about what belongs together
    - "bm25": these column weights, and values that saturate: ``x (k₁ + 1) / (x + k₁ (1 − b + b · length))``,
      where length is the sum of the row divided by the mean sum. Rows are not normalised.

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
        squares = np.bincount(rows_of(rows), weights=values**2, minlength=rows.shape[0])
        values /= np.repeat(np.sqrt(np.where(squares > 0, squares, 1)), lengths)
    return csr_array((values.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape, copy=True)


def all_similar(vectors: csr_array, include_self: bool) -> np.ndarray:
    """Multiply all rows with each other, float32, shape (n, n); see `nearest`.

    Dense: of many users most pairs of items share one, and a similarity with its place takes two numbers.
    `include_self` says whether row i holds i itself, too.
    """
    n = vectors.shape[0]
    what = f"neighbors=None keeps all similarities of {n:,} items, which"
    check_memory(4 * n * n, what, "say how many to keep, for instance neighbors=200")
    products = sparse_product(vectors, vectors.T.tocsr())
    np.fill_diagonal(products, squared_lengths(vectors) if include_self else 0)
    return products


def nearest(vectors: csr_array, k: int, chosen: np.ndarray | None = None) -> csr_array:
    """Find the k most similar other rows of every row, or of the chosen; equals in ascending order.

    Of vectors from `similarity_vectors`, shape (n, width). Row i of the result, shape (n or n_chosen, n),
    holds the neighbours of a row, never that row itself, and only similarities above 0.
    """
    n = vectors.shape[0]
    chosen = np.arange(n) if chosen is None else chosen
    others, themselves = vectors.T.tocsr(), eye_array(n, format="csr", dtype=np.float32)[chosen]
    best = top_k_blocks(
        lambda rows: sparse_product(vectors[chosen[rows]], others),
        len(chosen),
        n,
        min(k, n),
        exclude=themselves,
    )
    filled = best.scores > 0
    indptr = np.concatenate([[0], np.cumsum(filled.sum(1))])
    found = csr_array((best.scores[filled], best.ids[filled].astype(np.int32), indptr), (len(chosen), n))
    found.sort_indices()
    return found
