"""Content-based recommendation: items described like those a user has, whoever else bought them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, issparse, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import check_pair, check_positions, contributions, without_itself
from recsys_lib.recommenders.shared.base import Array, Recommender, check_interactions
from recsys_lib.recommenders.similarity import mixed_product
from recsys_lib.scoring import TopK, top_k_blocks

Features = csr_array | np.ndarray


@dataclass(eq=False)
class ContentBased(Recommender):
    """Recommend items whose words or features resemble those of a user's items.

    ``score(u, j) = ⟨p_u, v_j⟩`` with the item's features v_j scaled to length 1 and the user's profile
    ``p_u = Σ_i weight(u, i) v_i / Σ_i weight(u, i)``. No interaction of item j is needed: that is what the
    model is for. Items come with `fit`, or later with `add_items`.

    Parameters
    ----------
    scheme, half_life
        How much an interaction counts in the profile, see `weighting.weigh`.
    ngrams : int
        Longest run of words that counts as a feature of its own; for texts only.

    References
    ----------
    Lops, de Gemmis & Semeraro (2011), "Content-based Recommender Systems: State of the Art and Trends", in
    Recommender Systems Handbook. Salton & Buckley (1988), "Term-weighting approaches in automatic text
    retrieval".
    """

    scheme: str = "log"
    half_life: float | None = None
    ngrams: int = 1

    _arrays: ClassVar[tuple[str, ...]] = ("history_", "newest_", "features_", "names_", "idf_")

    def __post_init__(self) -> None:
        history.check_weighting(self.scheme, self.half_life)
        if not isinstance(self.ngrams, int | np.integer) or self.ngrams < 1:
            raise ValueError(f"ngrams must be an integer of at least 1, got {self.ngrams!r}")

    def fit(
        self,
        train: Interactions,
        texts: Sequence[str] | pd.Series | None = None,
        features: Features | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Learn what users like from the descriptions of their items.

        Parameters
        ----------
        train : Interactions
            Items without interactions may be among its items.
        texts : sequence of str, or Series of str indexed by item id
            One per item, in the order of `train.items`; a Series is put into that order. Weighted by TF-IDF.
        features : csr_array or np.ndarray, shape (n_items, n_features)
            Instead of texts: any numbers that describe the items, for example embeddings of their texts.
        names : sequence of str, optional
            Of the features, for `explain`.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            If there are neither texts nor features, or not one per item; and as for every recommender.
        """
        return self._fit_or_restore(train, texts=texts, features=features, names=names)

    def add_items(
        self,
        ids: Sequence | pd.Index,
        texts: Sequence[str] | pd.Series | None = None,
        features: Features | None = None,
    ) -> Self:
        """Make new items known, from now on recommendable; they are appended to `items_`.

        Parameters
        ----------
        ids : sequence, shape (n,)
            Of items the model does not know.
        texts, features
            Whichever the model was fitted with; words that were in no text then are ignored.

        Raises
        ------
        ValueError
            If an id is known already, or texts (features) are missing or not one per id.
        """
        self._check_fitted()
        ids = pd.Index(ids, name=self.items_.name)
        repeated = ids[ids.isin(self.items_) | ids.duplicated()]
        if len(repeated):
            raise ValueError(
                f"item {repeated.tolist()[0]!r} is known already: ids of new items must be new and unique"
            )
        wanted = "texts" if len(self.idf_) else "features"
        if (texts if wanted == "texts" else features) is None:
            raise ValueError(f"this model was fitted with {wanted}: give the new items' {wanted}")
        if wanted == "texts":
            vectorizer = self._vectorizer(self.names)
            vectorizer.idf_ = self.idf_
            added = csr_array(vectorizer.transform(_in_order(texts, ids)))
        else:
            added = _unit_rows(features, len(ids))
            if added.shape[1] != self.features_.shape[1]:
                raise ValueError(
                    f"features must have {self.features_.shape[1]} columns, got {added.shape[1]}"
                )
        if issparse(self.features_):
            self.features_ = csr_array(vstack([self.features_, csr_array(added)], format="csr"))
        else:
            self.features_ = np.vstack([self.features_, added.toarray() if issparse(added) else added])
        n_users, n_items = len(self.users_), len(self.items_) + len(ids)
        self.history_ = history.widen(self.history_, n_users, n_items)
        self._remember(
            Interactions(history.widen(self.matrix_, n_users, n_items), self.users_, self.items_.append(ids))
        )
        return self

    def partial_fit(self, new: Interactions) -> Self:
        """Bring new interactions into the profiles; the same as fitting on old and new ones together.

        Raises
        ------
        ValueError
            If `new` holds an item the model has no description of (`add_items` first); and as `fit`.
        """
        check_interactions(new)
        self._check_fitted()
        unknown = new.items[~new.items.isin(self.items_)]
        if len(unknown):
            raise ValueError(
                f"item {unknown.tolist()[0]!r} has no description: make it known by add_items first"
            )
        history.take_in(self, new)
        return self

    @property
    def names(self) -> list[str]:
        """What the columns of `features_` stand for: words, or the names given."""
        return self.names_.tobytes().decode().split("\n")

    def profile(self, users: np.ndarray) -> Features:
        """Profiles of some users, shape (n, n_features); zeros for a user without history."""
        self._check_fitted()
        weights = history.read(self.history_[check_positions("users", users, len(self.users_))], self.scheme)
        return shares(weights) @ self.features_

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the k items described most like each of some items, itself left out.

        Returns
        -------
        TopK
            `ids` and cosines as `scores`, shape (n, k); id −1 and score −inf where nothing is left.
        """
        self._check_fitted()
        items = check_positions("items", items, len(self.items_))
        return top_k_blocks(
            lambda rows: self._products(self.features_[items[rows]]),
            len(items),
            len(self.items_),
            k,
            exclude=without_itself(items, len(self.items_)),
        )

    def explain(self, user: int, item: int, n: int | None = None, by: str = "item") -> pd.DataFrame:
        """Say why an item suits a user.

        Parameters
        ----------
        user, item : int
            Positions.
        n : int, optional
            Only the n largest contributions.
        by : {"item", "word"}
            Split the score by the user's items or by the words (features) that matched.

        Returns
        -------
        pandas.DataFrame
            Columns `item` (position) or `word`, and `contribution`, largest first; all of them add up to the
            score.
        """
        users, item = check_pair(self, user, item)
        if by == "item":
            weights = shares(history.read(self.history_[users], self.scheme))
            alike = _dense(self.features_[weights.indices] @ self.features_[[item]].T)[:, 0]
            return contributions("item", weights.indices, weights.data * alike, n)
        if by != "word":
            raise ValueError(f"by must be 'item' or 'word', got {by!r}")
        matched = (_dense(self.profile(users)) * _dense(self.features_[[item]]))[0]
        names = np.array(self.names, dtype=object)
        return contributions("word", names[matched != 0], matched[matched != 0], n)

    def _fit(
        self,
        train: Interactions,
        texts: Sequence[str] | pd.Series | None = None,
        features: Features | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)
        if (texts is None) == (features is None):
            raise ValueError(
                "ContentBased needs either the items' texts or their features: fit(train, texts=…) or "
                "fit(train, features=…), one row per item of train"
            )
        if texts is not None:
            texts = _in_order(texts, train.items)
            vectorizer = self._vectorizer(None)
            try:
                self.features_ = csr_array(vectorizer.fit_transform(texts))
            except ValueError as error:
                raise ValueError(f"texts hold no word to describe an item by: {error}") from error
            self.names_, self.idf_ = _encoded(vectorizer.get_feature_names_out()), vectorizer.idf_
        else:
            self.features_ = _unit_rows(features, len(train.items))
            width = self.features_.shape[1]
            names = [f"feature {place}" for place in range(width)] if names is None else list(names)
            if len(names) != width:
                raise ValueError(f"there are {width} features but {len(names)} names")
            self.names_, self.idf_ = _encoded(names), np.empty(0)

    def _score(self, users: np.ndarray) -> Array:
        return self._products(self.profile(users))

    def _factors(self, users: np.ndarray) -> tuple[Array, Array] | None:
        if issparse(self.features_):
            return None
        return self._placed(self.profile(users)), self._placed(self.features_)

    def _products(self, rows: Features) -> Array:
        """Inner products of some feature vectors with those of all items, shape (n, n_items)."""
        if issparse(self.features_):
            return mixed_product(self.features_, _dense(rows).T).T
        return self._placed(rows) @ self._placed(self.features_).T

    def _placed(self, values: np.ndarray) -> Array:
        return values if self._device().type == "cpu" else torch.from_numpy(values).to(self._device())

    def _vectorizer(self, vocabulary: list[str] | None) -> TfidfVectorizer:
        return TfidfVectorizer(ngram_range=(1, self.ngrams), vocabulary=vocabulary, dtype=np.float32)


def shares(weights: csr_array) -> csr_array:
    """Rows divided by their sums; rows without weight stay empty."""
    sums = np.asarray(weights.sum(axis=1)).ravel()
    per_row = np.repeat(np.where(sums > 0, sums, 1), np.diff(weights.indptr))
    return csr_array((weights.data / per_row, weights.indices, weights.indptr), shape=weights.shape)


def _in_order(texts: Sequence[str] | pd.Series, items: pd.Index) -> list[str]:
    if isinstance(texts, pd.Series):
        missing = items[~items.isin(texts.index)]
        if len(missing):
            raise ValueError(f"texts hold none for item {missing.tolist()[0]!r}")
        texts = texts.loc[items]
    texts = list(texts)
    if len(texts) != len(items):
        raise ValueError(f"there are {len(items)} items but {len(texts)} texts: give one per item")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts[{place}] is {text!r}, not a text; use '' where there is none")
    return texts


def _unit_rows(features: Features, n_items: int) -> Features:
    """Checked features with rows of length 1 (or 0), sparse or dense as they came."""
    if not (issparse(features) or isinstance(features, np.ndarray)) or features.ndim != 2:
        raise ValueError(
            f"features must be a csr_array or a two-dimensional array, got {type(features).__name__}"
        )
    if features.shape[0] != n_items:
        raise ValueError(f"there are {n_items} items but {features.shape[0]} rows of features")
    values = features.data if issparse(features) else features
    if not np.isfinite(values).all():
        raise ValueError("features must be finite numbers")
    if issparse(features):
        return csr_array(normalize(features.tocsr().astype(np.float32)))
    return normalize(features.astype(np.float32))


def _encoded(names: Sequence[str]) -> np.ndarray:
    """Names as bytes, one per line, since arrays are what a model stores."""
    broken = [name for name in names if "\n" in name]
    if broken:
        raise ValueError(f"names must not hold a line break, got {broken[0]!r}")
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def _dense(values: Features) -> np.ndarray:
    return values.toarray() if issparse(values) else values
