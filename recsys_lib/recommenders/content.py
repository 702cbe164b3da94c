"""Content-based recommendation: items described like those a user has; other users play no part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, issparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.arrays import Array
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Positive
from recsys_lib.recommenders.shared.products import transposed_product
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.scoring import TopK, top_k_blocks

Features = csr_array | np.ndarray


@dataclass(kw_only=True, eq=False)
class ContentBased(Recommender):
    """Recommend items whose words or features resemble those of a user's items.

    ``score(u, j) = ⟨p_u, v_j⟩`` with the item's features v_j scaled to length 1 and the user's profile
    ``p_u = Σ_i weight(u, i) v_i / Σ_i weight(u, i)``. No interaction of item j is needed: that is what the
    model is for. `similar` is the cosine of features.

    Parameters
    ----------
    texts : sequence of str, or Series of str indexed by item id
        Of `fit`, instead of `item_features`. One per item, in the order of `train.items`; a Series is put
        into that order. Weighted by TF-IDF.

    Attributes
    ----------
    features_ : csr_array or np.ndarray, shape (n_items, n_features)

    References
    ----------
    Lops, de Gemmis & Semeraro (2011), "Content-based Recommender Systems: State of the Art and Trends", in
    Recommender Systems Handbook. Salton & Buckley (1988), "Term-weighting approaches in automatic text
    retrieval".
    """

    weighting: Weighting = "log"
    half_life: Positive | None = None

    _stored: ClassVar[tuple[str, ...]] = ("weights_", "features_")
    _takes_features: ClassVar[bool] = True

    def _fit(
        self,
        train: Interactions,
        item_features: Features | None = None,
        texts: Sequence[str] | pd.Series | None = None,
    ) -> None:
        if (texts is None) == (item_features is None):
            raise ValueError(
                "ContentBased needs either the items' texts or their features: fit(train, texts=…) or "
                "fit(train, item_features=…), one row per item of train"
            )
        self.weights_ = weigh(train, self.weighting, self.half_life)
        self.features_ = (
            normalize(item_features) if texts is None else _described(_in_order(texts, train.items))
        )

    def _score(self, users: np.ndarray) -> Array:
        return self._products(self._profiles(self.weights_[users]))

    def _factors(self, users: np.ndarray) -> tuple[Array, Array] | None:
        if issparse(self.features_):
            return None
        return self._place(self._profiles(self.weights_[users])), self._place(self.features_)

    def _fold_in(self, histories: csr_array) -> Array:
        return self._products(self._profiles(histories))

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return top_k_blocks(
            lambda rows: self._products(self.features_[items[rows]]), *themselves.shape, k, exclude=themselves
        )

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        own = shares(self.weights_[users])
        alike = _dense(self.features_[own.indices] @ self.features_[[item]].T)[:, 0]
        return {"item": own.indices, "contribution": own.data * alike}

    def _profiles(self, weights: csr_array) -> Features:
        """Profiles of users, shape (n, n_features)."""
        return shares(weights) @ self.features_

    def _products(self, rows: Features) -> Array:
        """Inner products of some feature vectors with those of all items, shape (n, n_items)."""
        if issparse(self.features_):
            return transposed_product(self._place(_dense(rows)), self.features_)
        return self._place(rows) @ self._place(self.features_).T


def shares(weights: csr_array) -> csr_array:
    """Divide rows by their sums; rows without weight stay empty, and there may be no row at all."""
    sums = np.asarray(weights.sum(axis=1)).ravel()
    per_row = np.repeat(np.where(sums > 0, sums, 1), np.diff(weights.indptr))
    return csr_array((weights.data / per_row, weights.indices, weights.indptr), shape=weights.shape)


def _described(texts: list[str]) -> csr_array:
    """TF-IDF vectors of length 1."""
    try:
        return csr_array(TfidfVectorizer(dtype=np.float32).fit_transform(texts))
    except ValueError as error:
        raise ValueError(f"texts hold no word to describe an item by: {error}") from error


def _in_order(texts: Sequence[str] | pd.Series, items: pd.Index) -> list[str]:
    if isinstance(texts, pd.Series):
        missing = items[~items.isin(texts.index)]
        if len(missing):
            raise ValueError(f"texts hold none for item {missing.tolist()[0]!r}")
        texts = texts.loc[items]
    texts = list(texts) if np.iterable(texts) and not isinstance(texts, str) else [texts]
    if len(texts) != len(items):
        raise ValueError(f"there are {len(items)} items but {len(texts)} texts: give one per item")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts[{place}] is {text!r}, not a text; use '' where there is none")
    return texts


def _dense(values: Features) -> np.ndarray:
    return values.toarray() if issparse(values) else values
