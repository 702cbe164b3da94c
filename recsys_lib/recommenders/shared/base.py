"""What all recommenders share: checks, ranking through the scoring core, unknown users, storage.

One level of inheritance and no more: a recommender is a dataclass of its hyper-parameters that says how to
fit (`_fit`) and how to score known users: by `_factors` where scores are products of factors, else by
`_score`. Fitted attributes end in an underscore.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array, csr_array
from sklearn.exceptions import NotFittedError

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import storage
from recsys_lib.recommenders.shared.arrays import Array, check_positions, on_host
from recsys_lib.scoring import TopK, top_k, top_k_blocks


@dataclass(kw_only=True, eq=False)
class Recommender:
    """Fit on interactions, recommend by position: user 3 is row 3 of the matrix it was fitted on.

    Parameters
    ----------
    device : str
        "cpu", "auto", "cuda" or "mps": where dense arithmetic and ranking happen. On the host, NumPy arrays
        are returned; elsewhere tensors that stay there.

    Attributes
    ----------
    matrix_ : csr_array, shape (n_users, n_items)
        What it was fitted on: it says what every user has seen.
    users_, items_ : pandas.Index
        Ids of its rows and columns.
    """

    device: str = "cpu"

    # Names of the fitted arrays of the class (NumPy, torch or csr_array), which `save` stores.
    _arrays: ClassVar[tuple[str, ...]] = ()

    def fit(self, train: Interactions) -> Self:
        """Learn from interactions, which stay as they are.

        Parameters
        ----------
        train : Interactions
            With non-negative, finite values.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            If there is no interaction, or a value is negative, NaN or infinite.
        """
        return self._fit_or_restore(train)

    def _fit_or_restore(self, train: Interactions, **given: Any) -> Self:
        """Fit on checked interactions and what the class's own `fit` takes besides; all or nothing."""
        check_interactions(train)
        before = vars(self).copy()
        try:
            self._remember(train)
            self._fit(train, **given)
        except BaseException:  # Ctrl-C, too: the model that was there stays whole
            vars(self).clear()
            vars(self).update(before)
            raise
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

        Raises
        ------
        ValueError
            If a position is out of range. `sklearn.exceptions.NotFittedError` (a ValueError) before `fit`.
        """
        users, known = self._positions(users)
        scores = np.empty((len(users), self.matrix_.shape[1]), np.float32)
        scores[~known] = self._popularity()
        if self._device().type == "cpu":
            scores[known] = on_host(self._score(users[known]))
            return scores
        placed = torch.from_numpy(scores).to(self._device())
        placed[torch.from_numpy(known).to(placed.device)] = self._to_device(self._score(users[known]))
        return placed

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
            `ids` (positions of items) and `scores`, shape (n, k); equal scores in ascending order of ids.

        Raises
        ------
        ValueError
            If k or a position is out of range. `sklearn.exceptions.NotFittedError` before `fit`.
        """
        users, known = self._positions(users)
        n_items = self.matrix_.shape[1]
        if not 1 <= k <= n_items:
            raise ValueError(f"k must be between 1 and the number of items, {n_items}; got {k}")
        seen = self.matrix_[users[known]] if exclude_seen else None
        if known.all():
            return self._rank(users, k, seen)
        # Who has no history has seen nothing: one list serves all of them.
        popular = top_k_blocks(lambda _: self._to_device(self._popularity()[None, :]), 1, n_items, k)
        ids, scores = popular.ids.repeat(len(users), 0), popular.scores.repeat(len(users), 0)
        if isinstance(ids, torch.Tensor):
            ids, scores = (
                popular.ids.expand(len(users), k).clone(),
                popular.scores.expand(len(users), k).clone(),
            )
            known = torch.from_numpy(known).to(ids.device)
        if known.any():
            best = self._rank(users[on_host(known)], k, seen)
            ids[known], scores[known] = best.ids, best.scores
        return TopK(ids, scores)

    def save(self, folder: str | Path) -> None:
        """Store the fitted model as safetensors and JSON; a model that was there is replaced as a whole.

        Raises
        ------
        ValueError
            `sklearn.exceptions.NotFittedError` before `fit`.
        """
        self._check_fitted()
        arrays = {name: getattr(self, name) for name in ("matrix_", *self._arrays)}
        storage.save_model(
            folder, type(self).__name__, storage.settings_of(self), arrays, self.users_, self.items_
        )

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Read what `save` stored.

        Raises
        ------
        FileNotFoundError
            If there is no model in the folder.
        ValueError
            If it is damaged, of another version, or of another class.
        """
        stored = storage.load_model(folder, cls.__name__)
        return cls._restored(stored, stored.settings, device)

    @classmethod
    def _restored(cls, stored: storage.StoredModel, settings: dict[str, Any], device: str) -> Self:
        """Build a model from its hyper-parameters and stored arrays, which must belong together."""
        names = {field.name for field in fields(cls) if field.init}
        wrong = sorted(set(settings) - names) or sorted({"matrix_", *cls._arrays} - set(stored.arrays))
        if wrong:
            raise ValueError(f"the stored model is damaged at {wrong[0]!r}. Save it again")
        if stored.arrays["matrix_"].shape != (len(stored.users), len(stored.items)):
            raise ValueError(
                "the stored model is damaged: its ids are not those of its matrix. Save it again"
            )
        model = cls(**settings, device=device)
        model.users_, model.items_ = stored.users, stored.items
        for name in ("matrix_", *cls._arrays):
            value = stored.arrays[name]
            setattr(model, name, value.to(model._device()) if isinstance(value, torch.Tensor) else value)
        return model

    def _fit(self, train: Interactions) -> None:
        raise NotImplementedError

    def _factors(self, users: np.ndarray) -> tuple[Array, Array] | None:
        """Factors of known users and of all items, if scores are their products: then `_score` is done."""
        return None

    def _score(self, users: np.ndarray) -> Array:
        """Scores of known users with a history, shape (n, n_items)."""
        factors = self._factors(users)
        if factors is None:
            raise NotImplementedError
        return factors[0] @ factors[1].T

    def _rank(self, users: np.ndarray, k: int, seen: csr_array | None) -> TopK:
        """Rank by factors, or by blocks of scores where there are none."""
        factors = self._factors(users)
        if factors is not None:
            return top_k(*factors, k, exclude=seen)
        return top_k_blocks(
            lambda rows: self._to_device(self._score(users[rows])),
            len(users),
            self.matrix_.shape[1],
            k,
            exclude=seen,
        )

    def _remember(self, train: Interactions) -> None:
        self.matrix_, self.users_, self.items_ = train.matrix, train.users, train.items

    def _popularity(self) -> np.ndarray:
        return user_counts(self.matrix_).astype(np.float32)

    def _device(self) -> torch.device:
        return resolve_device(self.device)

    def _to_device(self, scores: Array) -> Array:
        """Scores computed on the host go where the ranking happens; on the host nothing moves."""
        if self._device().type == "cpu":
            return scores
        return torch.as_tensor(scores).to(self._device())

    def _check_fitted(self) -> None:
        if not hasattr(self, "matrix_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(train) first")

    def _positions(self, users: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Checked positions, and which of them are users with a history."""
        self._check_fitted()
        n_users = self.matrix_.shape[0]
        if users is None:
            positions = np.arange(n_users)
        else:
            positions = check_positions("users", users, n_users, unknown=True)
        return positions, (positions >= 0) & (np.diff(self.matrix_.indptr)[positions] > 0)


def check_interactions(train: Interactions) -> None:
    """Raise a ValueError where nothing can be learnt from `train`, or a value is not a finite number ≥ 0."""
    if not isinstance(train, Interactions):
        raise ValueError(f"train must be Interactions (see recsys_lib.data), got {type(train).__name__}")
    if train.matrix.nnz == 0:
        raise ValueError(f"no interaction to learn from: the matrix of shape {train.matrix.shape} is empty")
    bad = ~(train.matrix.data >= 0) | np.isinf(train.matrix.data)
    if bad.any():
        raise ValueError(f"values must be finite and not negative; {first_pair(train.matrix, bad)}")


def first_pair(matrix: csr_array, chosen: np.ndarray) -> str:
    """Name the first chosen one of the stored values and where it stands, for a message."""
    place = int(np.argmax(chosen))
    row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
    return f"user {row} and item {matrix.indices[place]} have {matrix.data[place]:g}"


def user_counts(matrix: csr_array) -> np.ndarray:
    """Number of users with each item, shape (n_items,)."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])


def merge(old: csr_array, users: pd.Index, items: pd.Index, new: Interactions) -> Interactions:
    """Add new interactions to old ones; users and items not seen before are appended in their order.

    Parameters
    ----------
    old : csr_array, shape (len(users), len(items))
    users, items : pandas.Index
    new : Interactions

    Returns
    -------
    Interactions
        Old positions stay valid. Values of pairs that are in both are added up; `events` are dropped.
    """
    users, items = (
        users.append(new.users.difference(users, sort=False)),
        items.append(new.items.difference(items, sort=False)),
    )
    before, after = old.tocoo(), new.matrix.tocoo()
    rows = np.concatenate([before.row, users.get_indexer(new.users)[after.row]])
    columns = np.concatenate([before.col, items.get_indexer(new.items)[after.col]])
    values = np.concatenate([before.data, after.data])
    matrix = coo_array((values, (rows, columns)), shape=(len(users), len(items))).tocsr()
    matrix.sort_indices()
    return Interactions(matrix, users, items)


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn a device argument into a device: "auto" is an accelerator if there is one, else the host.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if device == "auto":
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'mps', got {device!r}") from error


def check_positive(**values: float) -> None:
    """Raise a ValueError that names the first hyper-parameter that is not a finite number above 0."""
    for name, value in values.items():
        if not (np.isscalar(value) and np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
