"""Explicit ratings: what a user and an item are worth on their own, and what their match adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch.nn.functional import embedding_bag
from tqdm import tqdm

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ratings import damped_biases
from recsys_lib.recommenders.shared.arrays import (
    check_pair,
    check_positions,
    contributions,
    native,
    similar_factors,
)
from recsys_lib.recommenders.shared.base import (
    Array,
    Recommender,
    check_interactions,
    check_positive,
    first_pair,
    merge,
)
from recsys_lib.scoring import TopK

_ROWS = 2**14  # solved at a time: bounds the memory of their matrices


class Biases(NamedTuple):
    """``r̂ = mean + user[u] + item[i]``; −1 is an unknown user or item, whose bias is 0."""

    mean: float
    user: np.ndarray
    item: np.ndarray

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predict the ratings of pairs of positions, shape (n,)."""
        return self.mean + np.where(users < 0, 0, self.user[users]) + np.where(items < 0, 0, self.item[items])


def biases(
    train: Interactions, user_damping: float = 4.0, item_damping: float = 2.0, sweeps: int = 10
) -> Biases:
    """Explain ratings by who rates and what is rated, without any match between the two.

    Minimises ``Σ (r_ui − mean − b_u − b_i)² + user_damping Σ b_u² + item_damping Σ b_i²`` by turns.

    Parameters
    ----------
    train : Interactions
        Its values are ratings.
    user_damping, item_damping : float
        Above 0. A user with as many ratings as the damping gets half of the deviation they show.
    sweeps : int

    Returns
    -------
    Biases

    References
    ----------
    Koren, Bell & Volinsky (2009), "Matrix Factorization Techniques for Recommender Systems", equation 3.
    """
    check_ratings(train)
    check_positive(user_damping=user_damping, item_damping=item_damping, sweeps=sweeps)
    ratings = train.matrix.tocoo()
    mean = float(ratings.data.mean(dtype=np.float64))
    return Biases(mean, *damped_biases(ratings, mean, user_damping, item_damping, sweeps))


@dataclass(eq=False)
class BiasedMF(Recommender):
    """Predict ratings: mean, bias of the user, bias of the item, and the match of their factors.

    ``r̂_ui = μ + b_u + b_i + p_u · q_i`` minimises

    ``Σ (r_ui − r̂_ui)² + Σ_u √n_u (λ_b b_u² + λ ‖p_u‖²) + Σ_i √n_i (λ_b b_i² + λ ‖q_i‖²)``

    over the ratings that exist, n of them for a user or an item, by alternating least squares: with one side
    fixed, bias and factors of each row of the other are one small ridge regression. The root lies between
    a penalty that ignores the number of ratings and one that grows with it as fast as the error does.

    The values of the train set are ratings. A sparse matrix keeps no 0, so a rating must be above 0: add 1 to
    a scale that begins at 0. One pair, one rating: a table with two is added up by `Interactions.from_frame`.

    Parameters
    ----------
    factors : int
    regularization : float
        λ > 0.
    bias_regularization : float
        λ_b > 0.
    iterations : int
        Each solves for all users, then for all items.
    seed : int
        Of the first item factors.
    progress : bool, optional
        Show a bar; by default on a terminal only.

    Attributes
    ----------
    mean_, scale_ : arrays
        μ; lowest and highest rating of train.
    user_biases_, item_biases_, user_factors_, item_factors_ : tensors

    References
    ----------
    Koren, Bell & Volinsky (2009), "Matrix Factorization Techniques for Recommender Systems", IEEE Computer.
    Zhou, Wilkinson, Schreiber & Pan (2008), "Large-Scale Parallel Collaborative Filtering for the Netflix
    Prize" (alternating least squares with a penalty weighted by the number of ratings).
    """

    factors: int = 20
    regularization: float = 1.5
    bias_regularization: float = 0.8
    iterations: int = 12
    seed: int = 0
    progress: bool | None = None

    _arrays: ClassVar[tuple[str, ...]] = (
        "mean_", "scale_", "user_biases_", "item_biases_", "user_factors_", "item_factors_",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_positive(
            factors=self.factors,
            regularization=self.regularization,
            bias_regularization=self.bias_regularization,
            iterations=self.iterations,
        )

    def fit(self, train: Interactions) -> Self:
        """Learn from ratings.

        Raises
        ------
        ValueError
            As every `fit`; and if a rating of 0 is stored.
        """
        check_ratings(train)
        return super().fit(train)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predict ratings of (user, item) pairs, kept within the scale of train's ratings.

        Parameters
        ----------
        users, items : integer arrays, shape (n,)
            Positions. −1, or a position without ratings in train, is an unknown user or item: the bias of
            the other one and the mean are what is left.

        Returns
        -------
        np.ndarray of float32, shape (n,)

        Raises
        ------
        ValueError
            If the lengths differ or a position is out of range.
        """
        self._check_fitted()
        users = check_positions("users", users, len(self.users_), unknown=True)
        items = check_positions("items", items, len(self.items_), unknown=True)
        if users.shape != items.shape:
            raise ValueError(f"users and items must be pairs, got {len(users)} users and {len(items)} items")
        queries, columns = (side.cpu().numpy() for side in self._sides())
        parts = [np.where(at[:, None] < 0, 0, side[at]) for at, side in ((users, queries), (items, columns))]
        # The constant columns of an unknown side are gone with it: put them back.
        parts[0][users < 0, -2], parts[1][items < 0, -1] = 1, 1
        parts[0][users < 0, -1] = self.mean_.item()
        return np.clip(np.einsum("nf,nf->n", *parts), *self.scale_)

    def partial_fit(self, new: Interactions) -> Self:
        """Solve again for the users, then for the items, that have new ratings; all others stay as they are.

        A new rating of a pair that was rated before replaces the old one. The mean stays.

        Raises
        ------
        ValueError
            As `fit`.
        """
        check_ratings(new)
        self._check_fitted()
        merged = merge(_without(self.matrix_, self.users_, self.items_, new), self.users_, self.items_, new)
        self._remember(merged)
        lowest, highest = self.scale_
        data = new.matrix.data
        self.scale_ = np.array([min(lowest, data.min()), max(highest, data.max())], np.float32)
        by_user, by_item = _both_ways(merged.matrix, self.mean_.item())
        for name, size in (("user", merged.n_users), ("item", merged.n_items)):
            for kind in ("biases_", "factors_"):
                known = getattr(self, f"{name}_{kind}")
                fresh = known.new_zeros((size - len(known), *known.shape[1:]))
                setattr(self, f"{name}_{kind}", torch.cat([known, fresh]))
        users = np.unique(merged.user_positions(new.users)[np.diff(new.matrix.indptr) > 0])
        items = merged.item_positions(new.items)[np.unique(new.matrix.indices)]
        for rows, left, own, other in ((users, by_user, "user", "item"), (items, by_item, "item", "user")):
            bias, factors = self._solve(left[rows], *self._of(other))
            where = torch.from_numpy(rows).to(bias.device)
            getattr(self, f"{own}_biases_")[where], getattr(self, f"{own}_factors_")[where] = bias, factors
        return self

    def explain(self, user: int, item: int) -> pd.DataFrame:
        """Split a score into mean, biases and the match of the factors.

        Returns
        -------
        pandas.DataFrame
            Columns `reason` and `contribution`, largest first; they add up to the score.
        """
        (user,), item = check_pair(self, user, item)
        match = self.user_factors_[user] @ self.item_factors_[item]
        parts = self.mean_.item(), self.user_biases_[user], self.item_biases_[item], match
        reasons = ["mean", "user's bias", "item's bias", "match of factors"]
        return contributions("reason", reasons, np.array([float(part) for part in parts]), None)

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the items whose factors point in the most similar direction, by cosine; not the items."""
        self._check_fitted()
        return similar_factors(self.item_factors_, items, k)

    def _fit(self, train: Interactions) -> None:
        self.mean_ = np.array(train.matrix.data.mean(dtype=np.float64), np.float32)
        self.scale_ = np.array([train.matrix.data.min(), train.matrix.data.max()], np.float32)
        by_user, by_item = _both_ways(train.matrix, self.mean_.item())
        generator = torch.Generator().manual_seed(self.seed)
        factors = 0.1 * torch.randn((train.n_items, self.factors), generator=generator)
        items = torch.zeros(train.n_items, device=self._device()), factors.to(self._device())
        hidden = None if self.progress is None else not self.progress
        for _ in tqdm(range(self.iterations), desc="BiasedMF", disable=hidden):
            users = self._solve(by_user, *items)
            items = self._solve(by_item, *users)
        self.user_biases_, self.user_factors_ = users
        self.item_biases_, self.item_factors_ = items

    def _solve(
        self, left: csr_array, bias: torch.Tensor, factors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        penalty = torch.full((factors.shape[1] + 1,), self.regularization, device=factors.device)
        penalty[0] = self.bias_regularization
        solved = torch.cat([ridge(*rows, bias, factors, penalty) for rows in _blocks(left, factors.device)])
        return solved[:, 0].contiguous(), solved[:, 1:].contiguous()

    def _of(self, side: str) -> tuple[torch.Tensor, torch.Tensor]:
        return getattr(self, f"{side}_biases_"), getattr(self, f"{side}_factors_")

    def _sides(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors with the biases as two more columns, so that one product is the whole prediction."""
        (b_u, p), (b_i, q) = self._of("user"), self._of("item")
        ones = [torch.ones_like(b)[:, None] for b in (b_u, b_i)]
        mean = self.mean_.item()
        return torch.cat([p, ones[0], b_u[:, None] + mean], 1), torch.cat([q, b_i[:, None], ones[1]], 1)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        queries, items = self._sides()
        return native(queries[torch.from_numpy(users).to(queries.device)]), native(items)


def ridge(
    columns: torch.Tensor,
    left: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
    bias: torch.Tensor,
    factors: torch.Tensor,
    penalty: torch.Tensor,
) -> torch.Tensor:
    """Bias and factors of some rows, the columns' being fixed: one ridge regression per row, all at once.

    Row u solves ``(Σ_i x_i x_iᵀ + √n_u diag(penalty)) w_u = Σ_i (left_ui − bias_i) x_i`` over its ratings i,
    with ``x_i = (1, factors_i)``.

    Parameters
    ----------
    columns, left : tensors, shape (n_ratings,)
        Which column is rated, and the rating minus the mean; row after row.
    starts, counts : tensors, shape (n_rows,)
        Where a row begins, and how many ratings it has.
    bias, factors : tensors, shape (n_columns,) and (n_columns, n_factors)
    penalty : tensor, shape (n_factors + 1,)

    Returns
    -------
    tensor, shape (n_rows, n_factors + 1)
        Bias first; zeros for a row without ratings.
    """
    x = torch.cat([torch.ones_like(bias)[:, None], factors], dim=1)
    upper = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
    # The products of a column's features are made once; a row's matrix is then a sum over its columns.
    sums = embedding_bag(columns, x[:, upper[0]] * x[:, upper[1]], starts, mode="sum")
    matrix = x.new_empty((len(starts), x.shape[1], x.shape[1]))
    matrix[:, upper[0], upper[1]] = sums
    matrix[:, upper[1], upper[0]] = sums
    # A row without ratings has a sum of 0 on both sides; any penalty makes it solvable.
    matrix += torch.diag(penalty) * counts.clamp(min=1).sqrt()[:, None, None]
    target = embedding_bag(columns, x, starts, mode="sum", per_sample_weights=left - bias[columns])
    factor, _ = torch.linalg.cholesky_ex(matrix)  # positive definite by construction: no check, no host sync
    return torch.cholesky_solve(target[:, :, None], factor)[:, :, 0]


def check_ratings(train: Interactions) -> None:
    """Raise a ValueError where `train` holds no ratings, or a rating that is not a finite number above 0."""
    check_interactions(train)
    zero = train.matrix.data == 0
    if zero.any():
        raise ValueError(
            f"ratings must be above 0, since a sparse matrix keeps no 0; {first_pair(train.matrix, zero)}: "
            "add 1 to all ratings"
        )


def _both_ways(matrix: csr_array, mean: float) -> tuple[csr_array, csr_array]:
    """Ratings minus the mean, by user and by item; a rating that equals the mean stays stored."""
    by_item = matrix.T.tocsr()
    return tuple(csr_array((m.data - mean, m.indices, m.indptr), shape=m.shape) for m in (matrix, by_item))


def _blocks(left: csr_array, device: torch.device) -> Iterator[tuple[torch.Tensor, ...]]:
    """Columns, values, starts and counts of some thousand rows at a time, on the device."""
    for first in range(0, left.shape[0], _ROWS):
        edges = left.indptr[first : first + _ROWS + 1].astype(np.int64)
        part = slice(edges[0], edges[-1])
        arrays = left.indices[part].astype(np.int64), left.data[part], edges[:-1] - edges[0], np.diff(edges)
        yield tuple(torch.from_numpy(array).to(device) for array in arrays)


def _without(old: csr_array, users: pd.Index, items: pd.Index, new: Interactions) -> csr_array:
    """`old` without the pairs that `new` rates again."""
    pairs = new.matrix.tocoo()
    rows, columns = users.get_indexer(new.users)[pairs.row], items.get_indexer(new.items)[pairs.col]
    known = (rows >= 0) & (columns >= 0)
    before = old.tocoo()
    again = np.isin(
        before.row.astype(np.int64) * old.shape[1] + before.col, rows[known] * old.shape[1] + columns[known]
    )
    kept = csr_array((before.data[~again], (before.row[~again], before.col[~again])), shape=old.shape)
    kept.sort_indices()
    return kept
