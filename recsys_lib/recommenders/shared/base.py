"""What all recommenders share: the contract, its checks, ranking through the scoring core, storage.

One level of inheritance and no more. A model is a dataclass of its hyper-parameters, whose annotations say
what they may be; fitted attributes end in an underscore. To write one, say

- how to fit: `_fit`; and what of it is stored: `_stored`;
- how to score known users: `_factors` where scores are products of factors, else `_score`;
- where the model can: `_similar`, `_explain`, `_fold_in`, two to six lines each; where it cannot, why not:
  one sentence in `_cannot`.

The public methods check what they are given and build the answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import storage
from recsys_lib.recommenders.shared.answers import unit_rows
from recsys_lib.recommenders.shared.arrays import Array, place
from recsys_lib.recommenders.shared.checks import (
    check_histories,
    check_interactions,
    check_item_features,
    check_k,
    check_positions,
    check_settings,
)
from recsys_lib.recommenders.shared.products import user_counts
from recsys_lib.recommenders.shared.weighting import value_weights
from recsys_lib.scoring import TopK, top_k, top_k_blocks
from recsys_lib.scoring.checks import resolve_device

_CANNOT = {
    "similar": "it does not compare items",
    "explain": "its scores do not come apart into reasons",
    "fold_in": "a user has to be in train",
}


@dataclass(kw_only=True, eq=False)
class Recommender:
    """Fit on interactions, recommend by position: user 3 is row 3 of the matrix of the fit.

    `similar`, `explain` and `fold_in` raise a NotImplementedError where a model cannot; the message says why.
    Before `fit`, everything raises `sklearn.exceptions.NotFittedError`, a ValueError.

    Parameters
    ----------
    device : str
        "cpu", "auto", "cuda" or "mps": where dense arithmetic and ranking happen. On the host, NumPy arrays
        are returned; elsewhere tensors that stay there.
    weighting, half_life
        Of the models that have them: how much an interaction counts (w in formulas), see `weighting.weigh`.

    Attributes
    ----------
    matrix_ : csr_array, shape (n_users, n_items)
        What it was fitted on: it says what every user has seen.
    users_, items_ : pandas.Index
        Ids of its rows and columns.
    parts_ : sequence of Recommender
        Fitted; empty unless the model is made of others.
    """

    device: str = "cpu"

    # Names of the fitted attributes that `save` stores, besides ids and matrix.
    _stored: ClassVar[tuple[str, ...]] = ()
    # Why a capability is missing, one sentence each, where _CANNOT says too little.
    _cannot: ClassVar[Mapping[str, str]] = {}
    # Whether `fit` learns from features of items.
    _takes_features: ClassVar[bool] = False
    parts_: ClassVar[Sequence["Recommender"]] = ()

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, train: Interactions, *, item_features: csr_array | np.ndarray | None = None, **given: Any
    ) -> Self:
        """Learn from interactions, and from what is known about the items where the model can.

        All or nothing: if anything is refused, or on Ctrl-C, the model stays as it was.

        Parameters
        ----------
        train : Interactions
            With non-negative, finite values. It stays as it is.
        item_features : csr_array or np.ndarray, shape (n_items, n_features), optional
            Finite numbers that describe the items: indicators of categories, embeddings of texts. Refused by
            models that learn nothing from them.
        **given
            What else the class says that its `fit` takes.
        """
        check_interactions(train)
        if item_features is not None:
            if not self._takes_features:
                raise ValueError(f"{type(self).__name__} learns nothing from item_features: leave them out")
            given["item_features"] = check_item_features(item_features, train.n_items)
        with self._unchanged_on_error():
            self.matrix_, self.users_, self.items_ = train.matrix, train.users, train.items
            self._fit(train, **given)
        return self

    def score(self, users: np.ndarray | None = None) -> Array:
        """Score every item, seen ones too, for some users.

        Parameters
        ----------
        users : integer array, shape (n,), optional
            Positions; −1 stands for a user the model does not know. Default: all users.

        Returns
        -------
        float32 array, shape (n, n_items)
            Higher is better; only the order within a row means something. An unknown user, or one without
            history, gets the popularity of the items.
        """
        users, known = self._positions(users)
        return self._complete(self._score(users[known]), known)

    def recommend(self, users: np.ndarray | None = None, k: int = 10, exclude_seen: bool = True) -> TopK:
        """List the k best items of some users.

        Parameters
        ----------
        users : integer array, shape (n,), optional
            As in `score`.
        k : int
            From 1 to the number of items.
        exclude_seen : bool
            Whether to leave out the items a user had in train, before the selection. Where fewer than k
            are left, the list ends in id −1 and score −inf.

        Returns
        -------
        TopK
            `ids` (positions of items, see `recsys_lib.data.names_of`) and `scores`, shape (n, k); equals in
            ascending order of positions.
        """
        users, known = self._positions(users)
        check_k(k, len(self.items_))
        seen = self.matrix_[users[known]] if exclude_seen else None
        if known.all():
            return self._rank(users, k, seen)
        # A user without history has seen nothing: one list serves all of them.
        popular = top_k_blocks(lambda _: self._place(self._popularity()[None, :]), 1, len(self.items_), k)
        first = self._place(np.zeros(len(users), np.int64))
        ids, scores = popular.ids[first], popular.scores[first]
        if known.any():
            best, rows = self._rank(users[known], k, seen), self._place(np.flatnonzero(known))
            ids[rows], scores[rows] = best.ids, best.scores
        return TopK(ids, scores)

    def fold_in(self, histories: csr_array) -> Array:
        """Score every item for users who were not there when the model was fitted.

        Parameters
        ----------
        histories : csr_array, shape (n, n_items)
            Values as in `Interactions.matrix`; the model weighs them as in `fit`. With a half-life they must
            have faded already: ``weigh(…, "count", half_life)``, or "binary" for a model that weighs so.

        Returns
        -------
        float32 array, shape (n, n_items)
            As `score`: a user of the fit gets the same scores, unless the class says otherwise; an empty
            history gets the popularity of the items.
        """
        self._check_can("fold_in")
        histories = check_histories(histories, len(self.items_))
        known = np.diff(histories.indptr) > 0
        histories = histories[np.flatnonzero(known)]
        if hasattr(self, "weighting"):
            histories = value_weights(histories, self.weighting, self.half_life)
        return self._complete(self._fold_in(histories), known)

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the k items most similar to each of some items.

        Parameters
        ----------
        items : integer array, shape (n,)
            Positions.

        Returns
        -------
        TopK
            Shape (n, k), most similar first, without the item itself. What the scores measure is said by the
            class; nothing is known of an item without interactions, and its list means nothing. Where nothing
            is left, the list ends in id −1 and score −inf.
        """
        self._check_can("similar")
        check_k(k, len(self.items_))
        items = check_positions("items", items, len(self.items_))
        return self._similar(items, k, unit_rows(items, len(self.items_)))

    def explain(self, user: int, item: int) -> pd.DataFrame:
        """Split a score into its reasons.

        Parameters
        ----------
        user, item : int
            Positions; of a user with a history.

        Returns
        -------
        pandas.DataFrame
            Largest contribution first. Columns: what the reason is (`item` or `user`: a position; `part`,
            `reason`), and `contribution`: they add up to the score.
        """
        self._check_can("explain")
        columns = self._explain(*self._check_pair(user, item))
        order = np.argsort(-np.asarray(columns["contribution"]), kind="stable")
        return pd.DataFrame(columns).iloc[order].reset_index(drop=True)

    def save(self, folder: str | Path) -> None:
        """Store the fitted model as safetensors and JSON; a model that was there is replaced as a whole."""
        self._check_fitted()
        storage.save_model(self, folder)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Read what `save` stored.

        Raises
        ------
        FileNotFoundError
            If there is no model in the folder.
        ValueError
            If it is damaged, of another version, of another class, or made of a class that was not imported.
        """
        resolve_device(device)  # a device that is not here is no damage of the file
        return storage.load_model(cls, folder, device, Recommender)

    # What a model says for itself:

    def _fit(self, train: Interactions) -> None:
        """Learn; `train` is checked. What `fit` takes besides, `item_features` too, are further arguments."""
        raise NotImplementedError

    def _factors(self, users: np.ndarray) -> tuple[Array, Array] | None:
        """Factors of known users and of all items, if scores are their products: then `_score` is done."""
        return None

    def _score(self, users: np.ndarray) -> Array:
        """Scores of known users with a history, float32, shape (n, n_items)."""
        factors = self._factors(users)
        if factors is None:
            raise NotImplementedError
        return factors[0] @ factors[1].T

    def _fold_in(self, histories: csr_array) -> Array:
        """Scores of users with these histories, weighed where the model has a `weighting`; none is empty."""
        raise NotImplementedError

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        """Rank similar items; `themselves`, shape (n, n_items), is what to exclude."""
        raise NotImplementedError

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        """Columns of the table of reasons, `contribution` the last; `users` holds one position."""
        raise NotImplementedError

    def _popularity(self) -> np.ndarray:
        return user_counts(self.matrix_).astype(np.float32)

    # What all models use:

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put the attributes back if the block fails; a change replaces an attribute, never edits it."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:  # Ctrl-C, too
            vars(self).clear()
            vars(self).update(before)
            raise

    def _complete(self, scores: Array, known: np.ndarray) -> Array:
        """Scores of all rows: those given where something is known, popularity elsewhere."""
        scores = self._place(scores)
        if isinstance(scores, np.ndarray):  # a transposed product; sums over its rows would differ in digits
            scores = np.ascontiguousarray(scores)
        if known.all():
            return scores
        every = np.empty((len(known), len(self.items_)), np.float32)
        every[~known] = self._popularity()
        every, rows = self._place(every), self._place(np.flatnonzero(known))
        every[rows] = scores
        return every

    def _rank(self, users: np.ndarray, k: int, seen: csr_array | None) -> TopK:
        """Rank by factors, or by blocks of scores where there are none."""
        factors = self._factors(users)
        if factors is not None:
            return top_k(*factors, k, exclude=seen)
        shape = len(users), len(self.items_)
        return top_k_blocks(lambda rows: self._place(self._score(users[rows])), *shape, k, exclude=seen)

    def _device(self) -> torch.device:
        return resolve_device(self.device)

    def _place(self, values: Array) -> Array:
        return place(values, self._device())

    def _check_fitted(self) -> None:
        if not hasattr(self, "matrix_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(train) first")

    def _check_can(self, what: str) -> None:
        """Refuse what the class does not write, with its reason; and everything before `fit`."""
        self._check_fitted()
        if getattr(type(self), f"_{what}") is getattr(Recommender, f"_{what}"):
            why = self._cannot.get(what, _CANNOT[what])
            raise NotImplementedError(f"{type(self).__name__} has no {what}: {why}")

    def _check_pair(self, user: int, item: int) -> tuple[np.ndarray, int]:
        """Check a user with a history, returned as an array of one position, and an item."""
        users = check_positions("user", [user], len(self.users_))
        if self.matrix_.indptr[user] == self.matrix_.indptr[user + 1]:
            raise ValueError(f"user {user} has no history to explain a score by")
        return users, int(check_positions("item", [item], len(self.items_))[0])

    def _positions(self, users: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return checked positions, and which of them are users with a history."""
        self._check_fitted()
        every = np.arange(len(self.users_))
        positions = every if users is None else check_positions("users", users, len(every), unknown=True)
        return positions, (positions >= 0) & (np.diff(self.matrix_.indptr)[positions] > 0)
