"""Habit, similar products and what is taken of late in one linear model: a matrix and a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.neighbors import ItemKNN
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import Array
from recsys_lib.recommenders.shared.checks import check_not_negative, check_positive
from recsys_lib.recommenders.shared.products import user_counts
from recsys_lib.recommenders.shared.weighting import recent_users
from recsys_lib.scoring import TopK, top_k_blocks


@dataclass(kw_only=True, eq=False)
class HabitKNN(ItemKNN):
    """Score what a user takes again, what goes with it, and what many take of late: ``x (I + a S) + b t``.

    x are the user's weights, S `ItemKNN`'s similarities to the nearest items (their mean effect on a score
    brought to 1), ``t_i = log(1 + users who had i in the last days)``. All of it is linear in x, so that
    one new interaction changes one entry of x, and a score comes apart into its reasons exactly.

    `explain` lists the items of the history, and the trend as item −1.

    Parameters
    ----------
    similar_share, trend_share : float
        a and b, at least 0.
    days : float
        What is of late. Without times of events, all users of an item count.
    neighbors, similarity, shrinkage, weighting, half_life
        As in `ItemKNN`; an item speaks for itself with weight 1.
    """

    neighbors: int | None = 100
    include_self: bool = False
    similar_share: float = 0.003
    trend_share: float = 0.06
    days: float = 14.0

    _stored: ClassVar[tuple[str, ...]] = (*ItemKNN._stored, "trend_")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(similar_share=self.similar_share, trend_share=self.trend_share)
        check_positive(days=self.days)
        if self.neighbors is None or self.include_self:
            raise ValueError("HabitKNN needs a number of neighbors, and brings its own include_self")

    def _fit(self, train: Interactions) -> None:
        super()._fit(train)
        weights = history.history_weights(self.history_, self.weighting)
        effect = float((weights @ self.neighbors_.sum(axis=1)).mean()) / train.n_items
        scale = np.float32(self.similar_share / effect if effect > 0 else 0)
        self.neighbors_ = (self.neighbors_ * scale + eye_array(train.n_items, dtype=np.float32)).tocsr()
        recent = user_counts(train.matrix) if train.events is None else recent_users(train, self.days)
        self.trend_ = (self.trend_share * np.log1p(recent)).astype(np.float32)

    def _partial_fit(self, new: Interactions, merged: Interactions) -> None:
        old = len(self.trend_)
        super()._partial_fit(new, merged)
        itself = diags_array((np.arange(merged.n_items) >= old).astype(np.float32))
        self.neighbors_ = (self.neighbors_ + itself).tocsr()
        self.trend_ = np.pad(self.trend_, (0, merged.n_items - old))

    def _score_weights(self, weights: csr_array) -> Array:
        if weights.shape[0] > 1:
            return super()._score_weights(weights) + self.trend_
        items = (
            weights.indices
        )  # one user: only the stored places of the rows of its items, several times faster
        starts, counts = self.neighbors_.indptr[items], np.diff(self.neighbors_.indptr)[items]
        places = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        effects = np.repeat(weights.data, counts) * self.neighbors_.data[places]
        sums = np.bincount(self.neighbors_.indices[places], effects, minlength=len(self.trend_))
        return (sums + self.trend_).astype(np.float32)[None, :]

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        def score(rows: slice) -> np.ndarray:
            found = self.neighbors_[items[rows]].toarray()
            return np.where(found > 0, found, np.float32(-np.inf))

        return top_k_blocks(score, *themselves.shape, k, exclude=themselves)

    def reasons(self, weights: csr_array, item: int) -> dict[str, Any]:
        """Split the score of one item for weights of shape (1, n_items); see `explain`."""
        effects = self.neighbors_[weights.indices][:, [item]].toarray()[:, 0] * weights.data
        return {
            "item": np.append(weights.indices, -1),
            "contribution": np.append(effects, self.trend_[item]),
        }

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        return self.reasons(history.history_weights(self.history_[users], self.weighting), item)
