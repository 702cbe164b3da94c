"""Alternating least squares: matrix factorisation of implicit feedback."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.least_squares import Batch, batches, conjugate_gradient, solve
from recsys_lib.recommenders.shared.answers import progress_bar, similar_factors
from recsys_lib.recommenders.shared.arrays import Array, as_native, rows_at
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, NotNegative, Positive, Seed
from recsys_lib.recommenders.shared.products import user_counts
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.scoring import TopK


@dataclass(kw_only=True, eq=False)
class ALS(Recommender):
    """Matrix factorisation of implicit feedback: ``score(u, i) = x_u · y_i``.

    Minimises ``Σ_ui c_ui (p_ui − x_u · y_i)² + λ (Σ_u ‖x_u‖² + Σ_i ‖y_i‖²)`` over *all* pairs, with
    preference ``p = 1`` and confidence ``c = offset + alpha · w`` for pairs that have a weight w > 0, and
    ``p = 0`` and ``c = 1`` for all others. Users are solved for with items held fixed, then items with users
    held fixed, and so on; each row is a ridge regression. At the end the users are solved for once more,
    exactly: they are optimal for the items that are kept.

    `similar` is the cosine of item factors.

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
    cg_steps : int, optional
        Steps of conjugate gradients per half iteration; each starts where the one before ended. None solves
        exactly: three to four times slower, with the same result in practice.
    seed : int
        Decides the random item factors that the fit starts from.
    item_factors : array, shape (n_items, factors), optional
        Of `fit`: where to start from, `item_factors_` of an earlier fit, say: a few iterations then are
        enough. Default: random. User factors are no part of the start, since they are solved for first.

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

    factors: Count = 64
    regularization: Positive = 10.0
    alpha: Positive = 1.0
    offset: NotNegative = 1.0
    iterations: Count = 15
    weighting: Weighting = "log"
    half_life: Positive | None = None
    cg_steps: Count | None = 3
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = ("weights_", "user_factors_", "item_factors_")

    def _fit(self, train: Interactions, item_factors: Array | None = None) -> None:
        start = self._start(train.n_items, item_factors)
        self.weights_ = weigh(train, self.weighting, self.half_life)
        confidences = self._confidences(self.weights_)
        by_user, by_item = self._batches(confidences), self._batches(confidences.T.tocsr())
        # An item without history is never solved for: it keeps its start, which therefore has to be 0.
        known = torch.from_numpy(user_counts(confidences) > 0).to(self._device())
        items = as_native(start * known[:, None])
        users = as_native(start.new_zeros((train.n_users, self.factors)))
        for _ in progress_bar(range(self.iterations), "ALS"):
            users = self._step(by_user, users, items)
            items = self._step(by_item, items, users)
        users = solve(by_user, train.n_users, items, self.regularization)
        self.user_factors_, self.item_factors_ = torch.as_tensor(users), torch.as_tensor(items)

    def _step(self, rows: list[Batch], own: Array, other: Array) -> Array:
        if self.cg_steps is None:
            return solve(rows, len(own), other, self.regularization)
        return conjugate_gradient(rows, own, other, self.regularization, self.cg_steps)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        return rows_at(self.user_factors_, users), as_native(self.item_factors_)

    def _fold_in(self, histories: csr_array) -> Array:
        items, rows = as_native(self.item_factors_), self._batches(self._confidences(histories))
        return solve(rows, histories.shape[0], items, self.regularization) @ items.T

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return similar_factors(self.item_factors_, items, k, themselves)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        # The score is Σ_j c_uj (y_iᵀ W_u y_j) with W_u = (Yᵀ C_u Y + λ I)⁻¹: Hu et al., section 5.
        own = self._confidences(self.weights_[users])
        every = self.item_factors_.cpu().numpy().astype(np.float64)
        owned = every[own.indices]
        extra = np.where(own.data > 0, own.data - 1, 0)
        system = every.T @ every + owned.T @ (extra[:, None] * owned)
        system[np.diag_indices_from(system)] += self.regularization
        return {
            "item": own.indices,
            "contribution": own.data * (owned @ np.linalg.solve(system, every[item])),
        }

    def _start(self, n_items: int, given: Array | None) -> torch.Tensor:
        """Item factors to begin with, on the device: those given, checked, or random ones."""
        shape = (n_items, self.factors)
        if given is None:
            drawn = np.random.default_rng(self.seed).standard_normal(shape, np.float32)
            return torch.from_numpy(drawn * np.float32(0.1)).to(self._device())
        if not isinstance(given, np.ndarray | torch.Tensor):
            raise ValueError(f"item_factors must be an array or a tensor, got {type(given).__name__}")
        start = torch.as_tensor(given).float()
        if start.shape != shape:
            raise ValueError(f"item_factors must have shape {shape}, got {tuple(start.shape)}")
        if not start.isfinite().all():
            raise ValueError("item_factors holds NaN or infinite values")
        return start.to(self._device())

    def _confidences(self, weights: csr_array) -> csr_array:
        """Return c of the pairs with a weight, in the same places; a stored weight of 0 stays 0."""
        c = np.where(weights.data > 0, self.offset + self.alpha * weights.data, 0).astype(np.float32)
        return csr_array((c, weights.indices, weights.indptr), shape=weights.shape)

    def _batches(self, confidences: csr_array) -> list[Batch]:
        return list(batches(confidences, self.factors, self._device()))
