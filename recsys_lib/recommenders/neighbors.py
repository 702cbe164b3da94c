"""Neighbourhood models: items bought by the same users, and users who bought the same items."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.arrays import Array, place
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, Flag, Positive
from recsys_lib.recommenders.shared.products import sparse_product, squared_lengths, transposed_product
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.recommenders.similarity import Similarity, all_similar, nearest, similarity_vectors
from recsys_lib.scoring import TopK, top_k_blocks


@dataclass(kw_only=True, eq=False)
class ItemKNN(Recommender):
    """Recommend items whose buyers also bought what a user has.

    ``score(u, j) = Σ_i weight(u, i) · s(i, j)`` over the items i of the user. With all neighbours and no more
    users than items, the scores of all users are ``(H Vᵀ) V`` with ``s = Vᵀ V``: a matrix of users × users
    stands in for the much larger one of items × items.

    `similar` gives the similarity s.

    Parameters
    ----------
    neighbors : int, optional
        How many most similar items every item keeps. None keeps all.
    similarity : {"bm25", "tfidf", "cosine"}
        See `similarity.similarity_vectors`. BM25 works on sums, which it dampens itself, the other two on
        weights by `weighting`. What belongs together does not age: `half_life` is for the user's items only.
    include_self : bool
        Whether an item the user has speaks for itself, too, as things that are bought again do. It only
        changes the scores of seen items.

    References
    ----------
    Sarwar et al. (2001), "Item-based collaborative filtering recommendation algorithms", WWW.
    Deshpande & Karypis (2004), "Item-based top-N recommendation algorithms", ACM TOIS 22(1).
    """

    neighbors: Count | None = None
    similarity: Similarity = "bm25"
    include_self: Flag = True
    weighting: Weighting = "log"
    half_life: Positive | None = None

    _stored: ClassVar[tuple[str, ...]] = ("weights_", "vectors_", "neighbors_")

    def _fit(self, train: Interactions) -> None:
        self.weights_ = weigh(train, self.weighting, self.half_life)
        weighting = "count" if self.similarity == "bm25" else self.weighting
        self.vectors_ = similarity_vectors(weigh(train, weighting).T.tocsr(), self.similarity)
        if self.neighbors is None:
            self.neighbors_ = np.empty((0, 0), np.float32)
            if train.n_users > train.n_items:  # otherwise the users' kernel needs none
                self.neighbors_ = all_similar(self.vectors_, self.include_self)
            return
        self.neighbors_ = nearest(self.vectors_, self.neighbors)
        if self.include_self:
            self.neighbors_ = (self.neighbors_ + diags_array(squared_lengths(self.vectors_))).tocsr()

    def _score(self, users: np.ndarray) -> Array:
        return self._fold_in(self.weights_[users])

    def _fold_in(self, histories: csr_array) -> Array:
        if self.neighbors_.shape[0]:
            return sparse_product(histories, self.neighbors_)
        kernel = sparse_product(histories, self.vectors_)  # some users × users of the fit
        if self.include_self:
            return _spread(kernel, self.vectors_, None, self._device())
        own = histories.data * squared_lengths(self.vectors_)[histories.indices]
        themselves = csr_array((own, histories.indices, histories.indptr), shape=histories.shape)
        return _spread(kernel, self.vectors_, themselves, self._device())

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        others = self.vectors_.T.tocsr()

        def score(rows: slice) -> np.ndarray:
            found = sparse_product(self.vectors_[items[rows]], others)
            found[found <= 0] = -np.inf
            return found

        return top_k_blocks(score, *themselves.shape, k, exclude=themselves)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        own = self.weights_[users]
        if self.neighbors is not None:
            similar = self.neighbors_[:, [item]].toarray()[own.indices, 0]
        else:
            similar = (self.vectors_[own.indices] @ self.vectors_[[item]].T).toarray()[:, 0]
            if not self.include_self:
                similar[own.indices == item] = 0
        return {"item": own.indices, "contribution": own.data * similar}


@dataclass(kw_only=True, eq=False)
class UserKNN(Recommender):
    """Recommend what users with a similar history have.

    ``score(u, i) = Σ_v s(u, v) · weight(v, i)`` over the neighbours v ≠ u. Neighbours are looked for when
    somebody asks: those of a few users cost little, however many there are. `explain` names the users who
    speak for an item.

    Parameters
    ----------
    neighbors : int, optional
        How many most similar users count. None counts all.
    similarity : {"cosine", "tfidf", "bm25"}
        See `similarity.similarity_vectors`.

    References
    ----------
    Herlocker, Konstan, Borchers & Riedl (1999), "An algorithmic framework for performing collaborative
    filtering", SIGIR.
    """

    neighbors: Count | None = 100
    similarity: Similarity = "cosine"
    weighting: Weighting = "binary"
    half_life: Positive | None = None

    _stored: ClassVar[tuple[str, ...]] = ("weights_", "vectors_")
    _cannot: ClassVar[dict[str, str]] = {
        "similar": "it compares users, not items",
        "fold_in": "similarities to a new user need weights that were found on the users of train",
    }

    def _fit(self, train: Interactions) -> None:
        self.weights_ = weigh(train, self.weighting, self.half_life)
        self.vectors_ = similarity_vectors(self.weights_, self.similarity)

    def _score(self, users: np.ndarray) -> Array:
        if self.neighbors is not None:
            return sparse_product(nearest(self.vectors_, self.neighbors, users), self.weights_)
        return _spread(self._similarities(users), self.weights_.T.tocsr(), None, self._device())

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        values = self._similarities(users)[0] * self.weights_[:, [item]].toarray()[:, 0]
        neighbors = np.flatnonzero(values)
        return {"user": neighbors, "contribution": values[neighbors]}

    def _similarities(self, users: np.ndarray) -> np.ndarray:
        """Similarities of some users to all, 0 to themselves and to all that are no neighbours."""
        if self.neighbors is not None:
            return nearest(self.vectors_, self.neighbors, users).toarray()
        similar = sparse_product(self.vectors_[users], self.vectors_.T.tocsr())
        similar[np.arange(len(users)), users] = 0
        return similar


def _spread(
    kernel: np.ndarray, vectors: csr_array, themselves: csr_array | None, device: torch.device
) -> Array:
    """Scores ``kernel · vectorsᵀ − themselves``, on the device."""
    scores = transposed_product(place(kernel, device), vectors)
    if themselves is not None:
        pairs = themselves.tocoo()
        rows, columns, values = (place(part, device) for part in (pairs.row, pairs.col, pairs.data))
        scores[rows, columns] -= values
    return scores
