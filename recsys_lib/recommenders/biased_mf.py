"""Explicit ratings: what a user and an item are worth on their own, and what their match adds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn.functional import embedding_bag

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.answers import progress_bar, similar_factors
from recsys_lib.recommenders.shared.arrays import Array, as_native, rows_at
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, Positive, Seed, check_pairs
from recsys_lib.scoring import TopK

_ROWS = 2**14  # solved at a time: bounds the memory of their matrices


@dataclass(kw_only=True, eq=False)
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
    regularization : float
        λ > 0.
    bias_regularization : float
        λ_b > 0.
    iterations : int
        Each solves for all users, then for all items.
    seed : int
        Decides the first item factors.

    Attributes
    ----------
    mean_ : float
        μ.
    scale_ : list of float
        Lowest and highest rating of train.
    user_biases_, item_biases_, user_factors_, item_factors_ : tensors

    References
    ----------
    Koren, Bell & Volinsky (2009), "Matrix Factorization Techniques for Recommender Systems", IEEE Computer.
    Zhou, Wilkinson, Schreiber & Pan (2008), "Large-Scale Parallel Collaborative Filtering for the Netflix
    Prize" (alternating least squares with a penalty weighted by the number of ratings).
    """

    factors: Count = 20
    regularization: Positive = 1.5
    bias_regularization: Positive = 0.8
    iterations: Count = 12
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = (
        "mean_", "scale_", "user_biases_", "item_biases_", "user_factors_", "item_factors_",
    )  # fmt: skip
    _cannot: ClassVar[dict[str, str]] = {"fold_in": "new ratings need a fit"}

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predict ratings of n (user, item) pairs, float32, kept within the scale of train's ratings.

        Parameters
        ----------
        users, items : integer arrays, shape (n,)
            Positions. −1, or a position without ratings in train, is an unknown user or item: the bias of
            the other one and the mean are what is left.
        """
        self._check_fitted()
        users, items = check_pairs(users, items, len(self.users_), len(self.items_))
        queries, columns = (side.cpu().numpy() for side in self._sides())
        parts = [np.where(at[:, None] < 0, 0, side[at]) for at, side in ((users, queries), (items, columns))]
        # The constant columns of an unknown side are gone with it: put them back.
        parts[0][users < 0, -2], parts[1][items < 0, -1] = 1, 1
        parts[0][users < 0, -1] = self.mean_
        return np.clip(np.einsum("nf,nf->n", *parts), *self.scale_)

    def _fit(self, train: Interactions) -> None:
        self.mean_ = float(np.float32(train.matrix.data.mean(dtype=np.float64)))
        self.scale_ = [float(train.matrix.data.min()), float(train.matrix.data.max())]
        by_user, by_item = _both_ways(train.matrix, self.mean_)
        generator = torch.Generator().manual_seed(self.seed)
        factors = 0.1 * torch.randn((train.n_items, self.factors), generator=generator)
        items = torch.zeros(train.n_items, device=self._device()), factors.to(self._device())
        for _ in progress_bar(range(self.iterations), "BiasedMF"):
            users = self._solve(by_user, *items)
            items = self._solve(by_item, *users)
        self.user_biases_, self.user_factors_ = users
        self.item_biases_, self.item_factors_ = items

    def _solve(
        self, residuals: csr_array, bias: torch.Tensor, factors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        penalty = torch.full((factors.shape[1] + 1,), self.regularization, device=factors.device)
        penalty[0] = self.bias_regularization
        blocks = _blocks(residuals, factors.device)
        solved = torch.cat([ridge(*rows, bias, factors, penalty) for rows in blocks])
        return solved[:, 0].contiguous(), solved[:, 1:].contiguous()

    def _sides(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors with the biases as two more columns, so that one product is the whole prediction."""
        b_u, b_i = self.user_biases_[:, None], self.item_biases_[:, None]
        users = torch.cat([self.user_factors_, torch.ones_like(b_u), b_u + self.mean_], 1)
        return users, torch.cat([self.item_factors_, b_i, torch.ones_like(b_i)], 1)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        queries, items = self._sides()
        return rows_at(queries, users), as_native(items)

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return similar_factors(self.item_factors_, items, k, themselves)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        user = int(users[0])
        match = self.user_factors_[user] @ self.item_factors_[item]
        parts = self.mean_, self.user_biases_[user], self.item_biases_[item], match
        return {
            "reason": ["mean", "user's bias", "item's bias", "match of factors"],
            "contribution": np.array([float(part) for part in parts]),
        }


def ridge(
    columns: torch.Tensor,
    residuals: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
    bias: torch.Tensor,
    factors: torch.Tensor,
    penalty: torch.Tensor,
) -> torch.Tensor:
    """Solve for bias and factors of some rows, the columns' being fixed: one ridge regression per row.

    Row u solves ``(Σ_i x_i x_iᵀ + √n_u diag(penalty)) w_u = Σ_i (residual_ui − bias_i) x_i`` over its ratings
    i, with ``x_i = (1, factors_i)``; zeros for a row without ratings. `columns` and `residuals`, shape
    (n_ratings,), are which column is rated and the rating minus the mean, row after row; `starts` and
    `counts`, shape (n_rows,), where a row begins and how many ratings it has. Shape (n_rows, n_factors + 1),
    bias first.
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
    target = embedding_bag(columns, x, starts, mode="sum", per_sample_weights=residuals - bias[columns])
    factor, _ = torch.linalg.cholesky_ex(matrix)  # positive definite by construction: no check, no host sync
    return torch.cholesky_solve(target[:, :, None], factor)[:, :, 0]


def _both_ways(matrix: csr_array, mean: float) -> tuple[csr_array, csr_array]:
    """Ratings minus the mean, by user and by item; a rating that equals the mean stays stored."""
    by_item = matrix.T.tocsr()
    return tuple(csr_array((m.data - mean, m.indices, m.indptr), shape=m.shape) for m in (matrix, by_item))


def _blocks(residuals: csr_array, device: torch.device) -> Iterator[tuple[torch.Tensor, ...]]:
    """Columns, values, starts and counts of some thousand rows at a time, on the device."""
    for first in range(0, residuals.shape[0], _ROWS):
        edges = residuals.indptr[first : first + _ROWS + 1].astype(np.int64)
        part = slice(edges[0], edges[-1])
        pairs = residuals.indices[part].astype(np.int64), residuals.data[part]
        arrays = *pairs, edges[:-1] - edges[0], np.diff(edges)
        yield tuple(torch.from_numpy(array).to(device) for array in arrays)
