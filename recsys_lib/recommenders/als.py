"""Alternating least squares: matrix factorisation of implicit feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from tqdm import tqdm

from recsys_lib.data import Interactions
from recsys_lib.recommenders.least_squares import Batch, batches, improve, solve
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import (
    check_histories,
    check_pair,
    contributions,
    native,
    similar_factors,
)
from recsys_lib.recommenders.shared.base import (
    Array,
    Recommender,
    check_positive,
    user_counts,
)
from recsys_lib.scoring import TopK, workers


@dataclass(eq=False)
class ALS(Recommender):
    """Matrix factorisation of implicit feedback: ``score(u, i) = x_u · y_i``.

    Minimises ``Σ_ui c_ui (p_ui − x_u · y_i)² + λ (Σ_u ‖x_u‖² + Σ_i ‖y_i‖²)`` over *all* pairs, with
    preference ``p = 1`` and confidence ``c = offset + alpha · w`` for pairs that have a weight w > 0, and
    ``p = 0`` and ``c = 1`` for all others. Users are solved for with items held fixed, then items with users
    held fixed, and so on; each row is a ridge regression. At the end the users are solved for once more,
    exactly: they are optimal for the items that are kept.

    Parameters
    ----------
    factors : int
        Length of x_u and y_i.
    regularization : float
        λ > 0.
    alpha, offset : float
        How much an interaction counts beside its absence, which counts 1. With offset 1, as published, even
        the lightest weight counts as much; with 0, as in the library implicit, only what the weight says.
    iterations : int
        Passes over users and items.
    scheme, half_life
        What w is; see `recsys_lib.recommenders.shared.weighting.weigh`.
    cg_steps : int, optional
        Steps of conjugate gradients per half iteration; each starts where the one before ended. None solves
        exactly: three to four times slower, with the same result in practice.
    seed : int
        Of the initial item factors.
    progress : bool, optional
        Show a bar over the iterations; None: on a terminal only.

    Attributes
    ----------
    user_factors_, item_factors_ : torch.Tensor, shapes (n_users, factors) and (n_items, factors)
        On the device. Rows without history are 0.

    References
    ----------
    Hu, Koren & Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets", ICDM.
    Takács, Pilászy & Tikk (2011), "Applications of the conjugate gradient method for implicit feedback
    collaborative filtering", RecSys.
    """

    factors: int = 64
    regularization: float = 10.0
    alpha: float = 1.0
    offset: float = 1.0
    iterations: int = 15
    scheme: str = "log"
    half_life: float | None = None
    cg_steps: int | None = 3
    seed: int = 0
    progress: bool | None = None

    _arrays: ClassVar[tuple[str, ...]] = ("history_", "newest_", "user_factors_", "item_factors_")

    def __post_init__(self) -> None:
        check_positive(
            factors=self.factors,
            regularization=self.regularization,
            alpha=self.alpha,
            iterations=self.iterations,
            cg_steps=1 if self.cg_steps is None else self.cg_steps,
        )
        if not 0 <= self.offset < np.inf:
            raise ValueError(f"offset must be a number of at least 0, got {self.offset!r}")
        history.check_weighting(self.scheme, self.half_life)

    def fit(self, train: Interactions, item_factors: Array | None = None) -> Self:
        """Learn from interactions.

        Parameters
        ----------
        train : Interactions
            With non-negative, finite values.
        item_factors : array, shape (n_items, factors), optional
            Where to start from, `item_factors_` of an earlier fit, say: a few iterations then are enough.
            Default: random. User factors are no part of the start, since they are solved for first.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            As every `fit`; and if `item_factors` has another shape or holds NaN or infinite values.
        """
        return self._fit_or_restore(train, item_factors=item_factors)

    def partial_fit(self, new: Interactions) -> Self:
        """Solve again for the users and items that have new interactions; all others stay as they are.

        Raises
        ------
        ValueError
            As `fit`; and with a half-life, if `new` has no times or ends before what is already known.
        """
        merged = history.take_in(self, new)
        for name, ids in (("user_factors_", merged.users), ("item_factors_", merged.items)):
            known = getattr(self, name)
            fresh = known.new_zeros((len(ids) - len(known), self.factors))
            setattr(self, name, torch.cat([known, fresh]))
        users = merged.user_positions(new.users)[np.diff(new.matrix.indptr) > 0]
        items = merged.item_positions(new.items)[np.unique(new.matrix.indices)]
        by_user = self._confidences(self._weights(slice(None)))
        by_item = by_user.T.tocsr()
        for positions, confidences, name, other in (
            (users, by_user, "user_factors_", "item_factors_"),
            (items, by_item, "item_factors_", "user_factors_"),
            (users, by_user, "user_factors_", "item_factors_"),
        ):
            solved = self._solve(confidences[positions], getattr(self, other))
            getattr(self, name)[torch.from_numpy(positions).to(solved.device)] = solved
        return self

    def fold_in(self, histories: csr_array) -> Array:
        """Score histories of users that the fit has not seen, by solving for their factors.

        Parameters
        ----------
        histories : csr_array, shape (n, n_items)
            Weighted as in `fit` (by default: log(1 + value)).

        Returns
        -------
        float32 array, shape (n, n_items)

        Raises
        ------
        ValueError
            If the width is not n_items. `sklearn.exceptions.NotFittedError` before `fit`.
        """
        solved = self._solve(self._confidences(check_histories(self, histories)), self.item_factors_)
        return native(solved) @ native(self.item_factors_).T

    def explain(self, user: int, item: int, n: int | None = None) -> pd.DataFrame:
        """Split a score into what each item of the user's history adds to it.

        With ``W_u = (Yᵀ C_u Y + λ I)⁻¹`` the score is ``Σ_j c_uj (y_iᵀ W_u y_j)`` over the history's items j.

        Parameters
        ----------
        user, item : int
            Positions.
        n : int, optional
            Rows to keep, those that add most. Default: all; they add up to the score.

        Returns
        -------
        pandas.DataFrame
            Columns `item` (position) and `contribution`, highest first.

        References
        ----------
        Hu, Koren & Volinsky (2008), section 5.
        """
        users, item = check_pair(self, user, item)
        own = self._confidences(self._weights(users))
        every = self.item_factors_.cpu().numpy().astype(np.float64)
        owned = every[own.indices]
        extra = np.where(own.data > 0, own.data - 1, 0)
        system = every.T @ every + owned.T @ (extra[:, None] * owned)
        system[np.diag_indices_from(system)] += self.regularization
        values = own.data * (owned @ np.linalg.solve(system, every[item]))
        return contributions("item", own.indices, values, n)

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the items whose factors point in the most similar direction, by cosine.

        Parameters
        ----------
        items : integer array, shape (n,)
            Positions.
        k : int

        Returns
        -------
        TopK
            Shape (n, k), without the item itself.
        """
        self._check_fitted()
        return similar_factors(self.item_factors_, items, k)

    def loss(self) -> float:
        """The minimised sum over all pairs; those without interaction are summed in closed form."""
        self._check_fitted()
        users, items = (
            factors.cpu().numpy().astype(np.float64) for factors in (self.user_factors_, self.item_factors_)
        )
        pairs = self._confidences(self._weights(slice(None))).tocoo()
        scores = np.concatenate(
            [
                np.einsum("nf,nf->n", users[pairs.row[part]], items[pairs.col[part]])
                for part in workers.even_slices(pairs.nnz, 1 + pairs.nnz // 2**16)
            ]
        )
        confidence = pairs.data.astype(np.float64)  # 0 stands for a stored weight of 0: no preference
        stored = np.where(confidence > 0, confidence * (1 - scores) ** 2 - scores**2, 0)
        everywhere = np.sum((users.T @ users) * (items.T @ items))  # Σ (x_u · y_i)²
        return float(everywhere + stored.sum() + self.regularization * (np.sum(users**2) + np.sum(items**2)))

    def _fit(self, train: Interactions, item_factors: Array | None = None) -> None:
        start = self._start(train.n_items, item_factors)
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)
        confidences = self._confidences(self._weights(slice(None)))
        by_user, by_item = self._batches(confidences), self._batches(confidences.T.tocsr())
        # An item without history is never solved for: it keeps its start, which therefore has to be 0.
        known = torch.from_numpy(user_counts(confidences) > 0).to(self._device())
        items = native(start * known[:, None])
        users = native(start.new_zeros((train.n_users, self.factors)))
        hidden = None if self.progress is None else not self.progress
        for _ in tqdm(range(self.iterations), desc="ALS", disable=hidden):
            users = self._step(by_user, users, items)
            items = self._step(by_item, items, users)
        users = solve(by_user, train.n_users, items, self.regularization)
        self.user_factors_, self.item_factors_ = torch.as_tensor(users), torch.as_tensor(items)

    def _step(self, rows: list[Batch], own: Array, other: Array) -> Array:
        if self.cg_steps is None:
            return solve(rows, len(own), other, self.regularization)
        return improve(rows, own, other, self.regularization, self.cg_steps)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        queries = self.user_factors_[torch.from_numpy(users).to(self.user_factors_.device)]
        return native(queries), native(self.item_factors_)

    def _start(self, n_items: int, given: Array | None) -> torch.Tensor:
        """Item factors to begin with, on the device: those given, checked, or random ones."""
        shape = (n_items, self.factors)
        if given is None:
            drawn = np.random.default_rng(self.seed).standard_normal(shape, np.float32)
            return torch.from_numpy(drawn * np.float32(0.1)).to(self._device())
        start = torch.as_tensor(given).float()
        if start.shape != shape:
            raise ValueError(f"item_factors must have shape {shape}, got {tuple(start.shape)}")
        if not start.isfinite().all():
            raise ValueError("item_factors holds NaN or infinite values")
        return start.to(self._device())

    def _weights(self, users: np.ndarray | slice) -> csr_array:
        return history.read(self.history_[users], self.scheme)

    def _confidences(self, weights: csr_array) -> csr_array:
        """c of the pairs with a weight, in the same places; a stored weight of 0 stays 0."""
        c = np.where(weights.data > 0, self.offset + self.alpha * weights.data, 0).astype(np.float32)
        return csr_array((c, weights.indices, weights.indptr), shape=weights.shape)

    def _batches(self, confidences: csr_array) -> list[Batch]:
        return list(batches(confidences, self.factors, self._device()))

    def _solve(self, confidences: csr_array, other: torch.Tensor) -> torch.Tensor:
        rows = self._batches(confidences)
        return torch.as_tensor(solve(rows, confidences.shape[0], native(other), self.regularization))
