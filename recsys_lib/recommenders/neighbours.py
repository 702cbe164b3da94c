"""Neighbourhood models: items bought by the same users, and users who bought the same items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, diags_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ratings import (
    expected_ratings,
    nearest_raters,
    neighbours_deviation,
    taste_similarity,
)
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import check_pair, check_positions, contributions, without_itself
from recsys_lib.recommenders.shared.base import Array, Recommender
from recsys_lib.recommenders.shared.weighting import weigh
from recsys_lib.recommenders.similarity import (
    check_neighbours,
    check_similarity,
    mixed_product,
    nearest,
    similarity_vectors,
    sparse_product,
    squared_lengths,
)
from recsys_lib.scoring import TopK, top_k_blocks


@dataclass(eq=False)
class ItemKNN(Recommender):
    """Recommend items whose buyers also bought what a user has.

    ``score(u, j) = Σ_i weight(u, i) · s(i, j)`` over the items i of the user. With all neighbours and no more
    users than items, the scores of all users are ``(H Vᵀ) V`` with ``s = Vᵀ V``: a matrix of users × users
    stands in for the much larger one of items × items.

    Parameters
    ----------
    neighbours : int, optional
        How many most similar items every item keeps. None keeps all.
    similarity : {"bm25", "tfidf", "cosine"}
        See `similarity.similarity_vectors`. BM25 works on sums, which it dampens itself, the other two on
        weights by `scheme`. What belongs together does not age: `half_life` is for the user's items only.
    shrinkage : float
        At least 0, in squared weights: makes items with little evidence less similar to all others. Not used
        by "bm25".
    include_self : bool
        Whether an item the user has speaks for itself, too, as things that are bought again do. It only
        changes the scores of seen items.
    scheme, half_life
        How much an interaction of the user counts, see `weighting.weigh`.

    References
    ----------
    Sarwar et al. (2001), "Item-based collaborative filtering recommendation algorithms", WWW.
    Deshpande & Karypis (2004), "Item-based top-N recommendation algorithms", ACM TOIS 22(1).
    """

    neighbours: int | None = None
    similarity: str = "bm25"
    shrinkage: float = 0.0
    include_self: bool = True
    scheme: str = "log"
    half_life: float | None = None

    _arrays: ClassVar[tuple[str, ...]] = ("history_", "newest_", "vectors_", "neighbours_")

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours)
        check_similarity(self.similarity, self.shrinkage)
        history.check_weighting(self.scheme, self.half_life)

    def partial_fit(self, new: Interactions) -> Self:
        """Bring new interactions into the users' histories; similarities of items stay until the next `fit`.

        New users are recommended to from their history. New items are known from here on, but similar to
        nothing yet.

        Raises
        ------
        ValueError
            As `fit`; and with a half-life, if `new` has no times or ends before what is already known.
        """
        n_items = history.take_in(self, new).n_items
        self.vectors_ = history.widen(self.vectors_, n_items, self.vectors_.shape[1])
        if self.neighbours_.shape[0]:
            self.neighbours_ = history.widen(self.neighbours_, n_items, n_items)
        return self

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the k items most similar to each of some items, itself left out.

        Parameters
        ----------
        items : integer array, shape (n,)
            Positions.
        k : int
            Where fewer have a similarity above 0, the list ends in id −1 and score −inf.

        Returns
        -------
        TopK
            `ids` and `scores`, shape (n, k).
        """
        self._check_fitted()
        items = check_positions("items", items, len(self.items_))
        others = self.vectors_.T.tocsr()

        def score(rows: slice) -> np.ndarray:
            found = sparse_product(self.vectors_[items[rows]], others)
            found[found <= 0] = -np.inf
            return found

        itself = without_itself(items, len(self.items_))
        return top_k_blocks(score, len(items), len(self.items_), k, exclude=itself)

    def explain(self, user: int, item: int, n: int | None = None) -> pd.DataFrame:
        """Because you bought …: what every item of a user adds to the score of an item.

        Parameters
        ----------
        user, item : int
            Positions.
        n : int, optional
            Only the n largest contributions.

        Returns
        -------
        pandas.DataFrame
            Columns `item` (position) and `contribution`, largest first; all of them add up to the score.
        """
        users, item = check_pair(self, user, item)
        own = history.read(self.history_[users], self.scheme)
        if self.neighbours_.shape[0]:
            similar = self.neighbours_[:, [item]].toarray()[own.indices, 0]
        else:
            similar = (self.vectors_[own.indices] @ self.vectors_[[item]].T).toarray()[:, 0]
            if not self.include_self:
                similar[own.indices == item] = 0
        return contributions("item", own.indices, own.data * similar, n)

    def _fit(self, train: Interactions) -> None:
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)
        weights = weigh(train, "count" if self.similarity == "bm25" else self.scheme)
        self.vectors_ = similarity_vectors(weights.T.tocsr(), self.similarity, self.shrinkage)
        if self.neighbours is None and train.n_users <= train.n_items:
            self.neighbours_ = csr_array((0, 0), dtype=np.float32)  # the users' kernel needs none
            return
        self.neighbours_ = nearest(self.vectors_, self.neighbours)
        if self.include_self:
            self.neighbours_ = (self.neighbours_ + diags_array(squared_lengths(self.vectors_))).tocsr()

    def _score(self, users: np.ndarray) -> Array:
        weights = history.read(self.history_[users], self.scheme)
        if self.neighbours_.shape[0]:
            return sparse_product(weights, self.neighbours_)
        kernel = sparse_product(weights, self.vectors_)  # some users × users of the fit
        if self.include_self:
            return _spread(kernel, self.vectors_, None, self._device())
        own = weights.data * squared_lengths(self.vectors_)[weights.indices]
        itself = csr_array((own, weights.indices, weights.indptr), shape=weights.shape)
        return _spread(kernel, self.vectors_, itself, self._device())


@dataclass(eq=False)
class UserKNN(Recommender):
    """Recommend what users with a similar history have.

    ``score(u, i) = Σ_v s(u, v) · weight(v, i)`` over the neighbours v ≠ u. With `centred`, values are taken
    as ratings, and the score is the predicted rating
    ``b_ui + Σ_v s(u, v) (r_vi − b_vi) / Σ_v |s(u, v)|`` over the nearest neighbours who rated i.

    Parameters
    ----------
    neighbours : int, optional
        How many most similar users count. None counts all.
    similarity : {"cosine", "tfidf", "bm25"}
        See `similarity.similarity_vectors`. Ratings are always compared by the cosine over the items that
        both rated, see `ratings.taste_similarity`.
    shrinkage : float
        At least 0. Makes users with little evidence less similar: in squared weights, or for ratings in
        items that both rated.
    centred : bool or "baseline"
        What b_ui is: False for interactions that are no ratings; True for the mean of the user; "baseline"
        for ``mean + b_u + b_i``.
    scheme, half_life
        How much an interaction counts, see `weighting.weigh`. Not used for ratings.

    References
    ----------
    Herlocker, Konstan, Borchers & Riedl (1999), "An algorithmic framework for performing collaborative
    filtering", SIGIR. Koren (2010), "Factor in the neighbors", ACM TKDD 4(1).
    """

    neighbours: int | None = 100
    similarity: str = "cosine"
    shrinkage: float = 0.0
    centred: bool | str = False
    scheme: str = "binary"
    half_life: float | None = None

    _arrays: ClassVar[tuple[str, ...]] = ("history_", "newest_", "vectors_", "neighbours_")

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours)
        check_similarity(self.similarity, self.shrinkage)
        history.check_weighting(self.scheme, self.half_life)
        if self.centred not in (False, True, "baseline"):
            raise ValueError(f"centred must be False, True or 'baseline', got {self.centred!r}")

    def partial_fit(self, new: Interactions) -> Self:
        """Add new interactions and find the neighbours anew; the same as fitting on both together.

        Raises
        ------
        ValueError
            As `fit`; with a half-life, if `new` has no times or ends before what is already known; with
            ratings, where one replaces another: fit on all ratings instead.
        """
        if self.centred:
            raise ValueError("ratings of one pair do not add up: fit on old and new ratings instead")
        history.take_in(self, new)
        self._find_neighbours()
        return self

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predict the ratings of (user, item) pairs, within the range of the ratings seen.

        Parameters
        ----------
        users, items : integer arrays, shape (n,)
            Positions; −1 stands for a user or an item the model does not know.

        Returns
        -------
        np.ndarray of float64, shape (n,)
        """
        self._check_fitted()
        users = check_positions("users", users, len(self.users_), unknown=True)
        items = check_positions("items", items, len(self.items_), unknown=True)
        if len(users) != len(items):
            raise ValueError(f"users and items must be pairs, got {len(users)} and {len(items)}")
        known = (users >= 0) & (items >= 0)
        wanted, rows = np.unique(users[known], return_inverse=True)
        predicted = expected_ratings(self.matrix_, self.centred)(users, items)
        predicted[known] = self._predicted(wanted, rows, items[known])
        return np.clip(predicted, self.matrix_.data.min(), self.matrix_.data.max())

    def similar(self, users: np.ndarray, k: int = 10) -> TopK:
        """List the k users most similar to each of some users, as `ItemKNN.similar` does for items."""
        self._check_fitted()
        users = check_positions("users", users, len(self.users_))

        def score(rows: slice) -> np.ndarray:
            found = self._similarities(users[rows])
            return np.where(found > 0, found, np.float32(-np.inf))

        itself = without_itself(users, len(self.users_))
        return top_k_blocks(score, len(users), len(self.users_), k, exclude=itself)

    def explain(self, user: int, item: int, n: int | None = None) -> pd.DataFrame:
        """Because similar users bought it: what every neighbour adds to the score of an item.

        Returns
        -------
        pandas.DataFrame
            Columns `user` (position) and `contribution`, largest first; all of them add up to the score. For
            ratings, the first row is what was expected before looking at neighbours (user −1).
        """
        users, item = check_pair(self, user, item)
        if not self.centred:
            similar = self._similarities(users)[0]
            weights = history.read(self.history_, self.scheme)[:, [item]].toarray()[:, 0]
            who = np.flatnonzero(similar * weights)
            return contributions("user", who, (similar * weights)[who], n)
        expected = expected_ratings(self.matrix_, self.centred)
        deviations = expected.deviations(self.matrix_).tocsc()
        who, weights, values = nearest_raters(self._similarities(users), deviations, item, self.neighbours)
        speak = weights[0] != 0
        table = contributions("user", who[0, speak], (weights * values)[0, speak], n)
        first = pd.DataFrame({"user": [-1], "contribution": expected(users, np.array([item]))})
        return pd.concat([first, table], ignore_index=True)

    def _fit(self, train: Interactions) -> None:
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)
        self._find_neighbours()

    def _find_neighbours(self) -> None:
        weights = history.read(self.history_, self.scheme)
        self.vectors_ = similarity_vectors(weights, self.similarity, self.shrinkage)
        none = self.neighbours is None or bool(self.centred)  # ratings have neighbours of their own per item
        self.neighbours_ = (
            csr_array((0, 0), dtype=np.float32) if none else nearest(self.vectors_, self.neighbours)
        )

    def _score(self, users: np.ndarray) -> Array:
        if self.centred:
            n, n_items = len(users), len(self.items_)
            rows, items = np.repeat(np.arange(n), n_items), np.tile(np.arange(n_items), n)
            return self._predicted(users, rows, items).reshape(n, n_items).astype(np.float32)
        weights = history.read(self.history_, self.scheme)
        if self.neighbours_.shape[0]:
            return sparse_product(self.neighbours_[users], weights)
        return _spread(self._similarities(users), weights.T.tocsr(), None, self._device())

    def _similarities(self, users: np.ndarray) -> np.ndarray:
        """Similarities of some users to all, 0 to themselves and to who is no neighbour."""
        if self.centred:
            deviations = expected_ratings(self.matrix_, self.centred).deviations(self.matrix_)
            return taste_similarity(deviations, users, self.shrinkage)
        if self.neighbours_.shape[0]:
            return self.neighbours_[users].toarray()
        similar = sparse_product(self.vectors_[users], self.vectors_.T.tocsr())
        similar[np.arange(len(users)), users] = 0
        return similar

    def _predicted(self, users: np.ndarray, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Ratings of the pairs (users[rows], items), all of them known."""
        expected = expected_ratings(self.matrix_, self.centred)
        deviations = expected.deviations(self.matrix_)
        similar = taste_similarity(deviations, users, self.shrinkage)
        near = neighbours_deviation(similar, deviations, rows, items, self.neighbours)
        return expected(users[rows], items) + near


def _spread(kernel: np.ndarray, vectors: csr_array, itself: csr_array | None, device: torch.device) -> Array:
    """Scores ``kernel · vectorsᵀ − itself``: on the host by a sparse product, elsewhere by a dense one."""
    if device.type == "cpu":
        scores = mixed_product(vectors, kernel.T)
        if itself is not None:
            own = itself.tocoo()
            scores[own.col, own.row] -= own.data
        return scores.T
    scores = torch.from_numpy(kernel).to(device) @ torch.from_numpy(vectors.toarray()).to(device).T
    return scores if itself is None else scores - torch.from_numpy(itself.toarray()).to(device)
