"""EASE: every item predicted from all other items by one ridge regression, in closed form."""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.arrays import Array, as_native
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Positive, check_positions
from recsys_lib.recommenders.shared.products import (
    dense_product,
    gram,
    invert,
    item_weights,
    quadratic_forms,
    transposed_product,
)
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.scoring import TopK, top_k_blocks


@dataclass(kw_only=True, eq=False)
class EASE(Recommender):
    """Linear autoencoder without self-similarity: ``score(u, i) = Σ_{j ≠ i} x_uj B_ji``.

    B minimises ``‖X − X B‖² + λ ‖B‖²`` with ``diag(B) = 0``. With ``P = (Xᵀ X + λ I)⁻¹`` that is
    ``B_ji = −P_ji / P_ii``. Two ways lead there, and the fit takes the one with the smaller matrix:

    - items: P itself is inverted and B stored, n_items × n_items;
    - users: with ``A = (I + X Xᵀ / λ)⁻¹``, ``P = (I − Xᵀ A X / λ) / λ`` (Woodbury's identity), and a user's
      scores are ``x_u − (A X)_u / (1 − h)`` with ``h_i = (Xᵀ A X)_ii / λ``. Only A is inverted and stored,
      n_users × n_users.

    Features of items are treated like more users: each has all items with the feature, times
    `feature_weight`. `similar` gives the weights from one item to the others, row i of B.

    Parameters
    ----------
    regularization : float
        λ > 0; larger values trust co-occurrence less.
    feature_weight : float
        Factor on the features of items that `fit` may be given.

    Attributes
    ----------
    weights_ : torch.Tensor, shape (n_items, n_items)
        B, where the items' way was taken; otherwise empty.
    inverse_ : torch.Tensor, shape (n_rows, n_rows)
        A, where the users' way was taken; otherwise empty. Features count as users.

    Notes
    -----
    The inversion runs in float64, its result is kept and used in float32. Above 20,000 items it runs in
    float32 throughout, unless λ is tiny: a third of the memory, and weights off by up to 1e-4 of the largest
    (measured). On an accelerator the inversion and the products run there; MPS, which has no float64, gets an
    inverse computed on the host.

    References
    ----------
    Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data", WWW. Jeunen, Van Balen & Goethals
    (2020), "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys.
    """

    regularization: Positive = 300.0
    weighting: Weighting = "log"
    half_life: Positive | None = None
    feature_weight: Positive = 1.0

    _stored: ClassVar[tuple[str, ...]] = ("history_", "weights_", "inverse_", "inputs_", "complement_")
    _takes_features: ClassVar[bool] = True

    def _fit(self, train: Interactions, item_features: csr_array | np.ndarray | None = None) -> None:
        self.history_ = weigh(train, self.weighting, self.half_life)
        rows = self.history_
        if item_features is not None:
            rows = vstack([rows, csr_array(item_features.T) * np.float32(self.feature_weight)])
        self.inputs_ = csr_array(rows.T, dtype=np.float32)
        self.weights_, self.inverse_ = torch.empty((0, 0)), torch.empty((0, 0))
        self.complement_ = torch.ones(train.n_items)
        if rows.shape[1] <= rows.shape[0]:
            self.weights_ = item_weights(
                gram(self.inputs_, thrifty=True), self.regularization, self._device()
            )
            self.inputs_ = csr_array((train.n_items, 0), dtype=np.float32)  # no longer needed
        else:
            self._fit_users()

    def _fit_users(self) -> None:
        kernel = gram(self.inputs_.T.tocsr()) / self.regularization
        kernel[np.diag_indices_from(kernel)] += 1
        inverse = invert(kernel, self._device())
        # 1 − h is small for items that others predict well, so h is computed before A is rounded to float32.
        leverages = quadratic_forms(inverse, self.inputs_) / self.regularization
        self.inverse_, self.complement_ = (
            torch.as_tensor(values).float().to(self._device()) for values in (inverse, 1 - leverages)
        )

    def forget(self, users: np.ndarray) -> Self:
        """Take users out as if the fit had never seen them; the rows after them move up.

        No fit, but a change of low rank: with S the users and R the rest, ``A ← A_RR − A_RS A_SS⁻¹ A_SR``,
        and h loses ``(A X)_Sᵀ A_SS⁻¹ (A X)_S / λ``. It is exact but for the rounding of what is stored,
        float32. With a half-life, what is left stays as faded as it was. `users`: positions, shape (n,).
        """
        self._check_fitted()
        users = check_positions("users", users, len(self.users_))
        if type(self) is not EASE or not self.inverse_.numel():
            raise NotImplementedError("only EASE forgets, fitted the users' way: here, fit again")
        if len(np.unique(users)) < len(users) or len(users) == len(self.users_):
            raise ValueError(f"users must differ from each other and leave somebody, got {users}")
        with self._unchanged_on_error():
            inverse, kept = self.inverse_.cpu().numpy(), np.delete(np.arange(len(self.users_)), users)
            rows, rest = inverse[users], np.delete(np.arange(len(inverse)), users)
            own, across = np.linalg.inv(rows[:, users].astype(np.float64)), rows[:, rest]
            seen = self.inputs_ @ np.ascontiguousarray(rows.T)  # (A X)_S, shape (n_items, n)
            less = (seen @ own * seen).sum(axis=1) / self.regularization
            smaller = torch.from_numpy(_without(inverse, users))
            smaller.addmm_(torch.from_numpy(across).T, torch.from_numpy(own @ across).float(), alpha=-1)
            self.inverse_ = smaller.to(self._device())
            self.complement_ = self.complement_ + torch.as_tensor(less).float().to(self._device())
            self.inputs_, self.history_ = self.inputs_[:, rest], self.history_[kept]
            self.matrix_, self.users_ = self.matrix_[kept], self.users_[kept]
        return self

    def _score(self, users: np.ndarray) -> Array:
        if self.weights_.numel():
            return dense_product(self.history_[users], as_native(self.weights_))
        # ``λ x P = c X``, where c are rows of A.
        coefficients = as_native(self.inverse_)[self._place(users)]
        return self._by_users(self.history_[users], coefficients, add_inputs=False)

    def _fold_in(self, histories: csr_array) -> Array:
        if self.weights_.numel():
            return dense_product(histories, as_native(self.weights_))
        # ``λ x P = x + c X`` with ``c = −x Xᵀ A / λ``.
        kernel = self._place((histories @ self.inputs_).toarray())
        coefficients = kernel @ as_native(self.inverse_) / -self.regularization
        return self._by_users(histories, coefficients, add_inputs=True)

    def _by_users(self, weights: csr_array, coefficients: Array, *, add_inputs: bool) -> Array:
        """``x − λ x P / (1 − h)`` with ``λ x P = c X``, plus x where the users are new."""
        complement = as_native(self.complement_)
        scores = transposed_product(coefficients, self.inputs_)
        scores /= -complement
        pairs = weights.tocoo()
        users, items, values = (self._place(part) for part in (pairs.row, pairs.col, pairs.data))
        scores[users, items] += values * (1 - float(add_inputs) / complement[items])
        return scores

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return top_k_blocks(
            lambda rows: self._fold_in(themselves[rows]), *themselves.shape, k, exclude=themselves
        )

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        own = self.history_[users]
        return {"item": own.indices, "contribution": own.data * self._weights_into(item, own.indices)}

    def _weights_into(self, item: int, owned: np.ndarray) -> np.ndarray:
        """B_ji for j in `owned`, on the host."""
        if self.weights_.numel():
            return self.weights_[:, item].cpu().numpy()[owned]
        column = self._place(self.inputs_[[item], :].toarray()[0])
        effect = torch.as_tensor(as_native(self.inverse_) @ column).cpu().numpy()
        weights = self.inputs_[owned] @ effect / (self.regularization * float(self.complement_[item]))
        return np.where(owned == item, 0, weights).astype(np.float32)


def _without(matrix: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return a square matrix without some rows and columns, copied once: a second copy would take as long."""
    if len(positions) > 30:  # too many pieces
        return np.delete(np.delete(matrix, positions, axis=0), positions, axis=1)
    smaller = np.empty((len(matrix) - len(positions),) * 2, matrix.dtype)
    ends = enumerate(pairwise(np.r_[-1, np.sort(positions), len(matrix)]))
    runs = [(slice(a + 1, b), slice(a + 1 - k, b - k)) for k, (a, b) in ends]
    for (rows, to_rows), (columns, to_columns) in product(runs, repeat=2):
        smaller[to_rows, to_columns] = matrix[rows, columns]
    return smaller
