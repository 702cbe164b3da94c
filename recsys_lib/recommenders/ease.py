"""EASE: every item predicted from all other items by one ridge regression, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.linalg import cho_factor, lapack
from scipy.sparse import csr_array, issparse, vstack

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import (
    check_histories,
    check_pair,
    check_positions,
    contributions,
    native,
    without_itself,
)
from recsys_lib.recommenders.shared.base import Array, Recommender, check_positive
from recsys_lib.recommenders.similarity import mixed_product
from recsys_lib.scoring import TopK, top_k_blocks, workers

_BLOCK = 256  # rows at a time where all products of rows would not fit
_DEVICE_BYTES = 2**28  # of a sparse matrix made dense on an accelerator, at a time


@dataclass(eq=False)
class EASE(Recommender):
    """Linear autoencoder without self-similarity: ``score(u, i) = Σ_{j ≠ i} x_uj B_ji``.

    B minimises ``‖X − X B‖² + λ ‖B‖²`` with ``diag(B) = 0``. With ``P = (Xᵀ X + λ I)⁻¹`` that is
    ``B_ji = −P_ji / P_ii``. Two ways lead there, and the fit takes the one with the smaller matrix:

    - items: P itself is inverted and B stored, n_items × n_items;
    - users: with ``A = (I + X Xᵀ / λ)⁻¹``, ``P = (I − Xᵀ A X / λ) / λ`` (Woodbury's identity), and a user's
      scores are ``x_u − (A X)_u / (1 − h)`` with ``h_i = (Xᵀ A X)_ii / λ``. Only A is inverted and stored,
      n_users × n_users.

    Parameters
    ----------
    regularization : float
        λ > 0; larger values trust co-occurrence less.
    scheme, half_life
        What the entries of X are; see `recsys_lib.recommenders.shared.weighting.weigh`.
    side_weight : float
        Factor on the rows of side information that `fit` may be given.

    Attributes
    ----------
    weights_ : torch.Tensor, shape (n_items, n_items)
        B, where the items' way was taken; otherwise empty.
    inverse_ : torch.Tensor, shape (n_rows, n_rows)
        A, where the users' way was taken; otherwise empty. Rows of side information count as users.

    Notes
    -----
    The inversion runs in float64, its result is kept and used in float32. On an accelerator the inversion and
    the products run there; MPS, which has no float64, gets an inverse computed on the host.

    References
    ----------
    Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data", WWW. Jeunen, Van Balen & Goethals
    (2020), "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys.
    """

    regularization: float = 300.0
    scheme: str = "log"
    half_life: float | None = None
    side_weight: float = 1.0

    _arrays: ClassVar[tuple[str, ...]] = (
        "history_",
        "newest_",
        "changed_",
        "weights_",
        "inverse_",
        "inputs_",
        "complement_",
    )

    def __post_init__(self) -> None:
        check_positive(regularization=self.regularization, side_weight=self.side_weight)
        history.check_weighting(self.scheme, self.half_life)

    def fit(self, train: Interactions, side: csr_array | None = None) -> Self:
        """Learn from interactions, and from side information if there is some.

        Parameters
        ----------
        train : Interactions
            With non-negative, finite values.
        side : sparse matrix, shape (n_features, n_items), optional
            A row per attribute of items: genre, brand, department. It is treated like one more user, who has
            all items with the attribute, times `side_weight`.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            As every `fit`; and if `side` is not sparse, of another width, or holds NaN or infinite values.
        """
        return self._fit_or_restore(train, side=side)

    def partial_fit(self, new: Interactions) -> Self:
        """Bring users' histories up to date; what was learnt about items stays as it is until the next `fit`.

        New users are scored like old ones. New items have no weights yet: they score 0 and speak for nothing.

        Raises
        ------
        ValueError
            As `fit`; and with a half-life, if `new` has no times or ends before what is already known.
        """
        merged = history.take_in(self, new)
        changed = np.ones(merged.n_users, bool)
        if self.half_life is None:  # otherwise the weights of all users have faded
            changed[: len(self.changed_)] = self.changed_
            changed[merged.user_positions(new.users)[np.diff(new.matrix.indptr) > 0]] = True
        self.changed_ = changed
        self._append_items(merged.n_items - self.inputs_.shape[0])
        return self

    def fold_in(self, histories: csr_array) -> Array:
        """Score histories of users that the fit has not seen.

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
        histories = check_histories(self, histories)
        if self.weights_.numel():
            return self._by_items(histories)
        return self._by_users(histories, self._coefficients(histories), np.ones(histories.shape[0], bool))

    def explain(self, user: int, item: int, n: int | None = None) -> pd.DataFrame:
        """Split a score into what each item of the user's history adds to it.

        Parameters
        ----------
        user, item : int
            Positions.
        n : int, optional
            Rows to keep, those that add most. Default: all; they add up to the score.

        Returns
        -------
        pandas.DataFrame
            Columns `item` (position) and `contribution`, ``x_uj B_ji``, highest first.
        """
        users, item = check_pair(self, user, item)
        own = self._histories(users)
        return contributions("item", own.indices, own.data * self._weights_into(item, own.indices), n)

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the items for which having one item speaks most: the largest weights in row i of B.

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
        items = check_positions("items", items, len(self.items_))
        alone = without_itself(items, len(self.items_))
        return top_k_blocks(lambda rows: self.fold_in(alone[rows]), *alone.shape, k, exclude=alone)

    def _fit(self, train: Interactions, side: csr_array | None = None) -> None:
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)
        self.changed_ = np.zeros(train.n_users, bool)
        rows = history.read(self.history_, self.scheme)
        rows = rows if side is None else vstack([rows, self._checked_side(train, side)])
        self.inputs_ = csr_array(rows.T, dtype=np.float32)
        self.weights_, self.inverse_ = torch.empty((0, 0)), torch.empty((0, 0))
        self.complement_ = torch.ones(train.n_items)
        if rows.shape[1] <= rows.shape[0]:
            self._fit_items()
        else:
            self._fit_users()
        for name in ("weights_", "inverse_", "complement_"):
            setattr(self, name, getattr(self, name).float().to(self._device()))

    def _fit_items(self) -> None:
        kernel = gram(self.inputs_)
        kernel[np.diag_indices_from(kernel)] += self.regularization
        weights = invert(kernel, self._device())
        weights /= -weights.diagonal()
        self.weights_ = torch.as_tensor(weights).fill_diagonal_(0)
        self.inputs_ = csr_array((self.inputs_.shape[0], 0), dtype=np.float32)  # no longer needed

    def _fit_users(self) -> None:
        kernel = gram(self.inputs_.T.tocsr()) / self.regularization
        kernel[np.diag_indices_from(kernel)] += 1
        inverse = invert(kernel, self._device())
        # 1 − h is small for items that others predict well, so h is computed before A is rounded to float32.
        leverages = quadratic_forms(inverse, self.inputs_) / self.regularization
        self.inverse_, self.complement_ = torch.as_tensor(inverse), torch.as_tensor(1 - leverages)

    def _append_items(self, count: int) -> None:
        """Items without weights: a score of 0."""
        pad = torch.nn.functional.pad
        if self.weights_.numel():
            self.weights_ = pad(self.weights_, (0, count, 0, count))
        self.complement_ = pad(self.complement_, (0, count), value=1.0)
        self.inputs_ = history.widen(self.inputs_, self.inputs_.shape[0] + count, self.inputs_.shape[1])

    def _score(self, users: np.ndarray) -> Array:
        histories, changed = self._histories(users), self.changed_[users]
        if self.weights_.numel():
            return self._by_items(histories)
        coefficients = native(self.inverse_)[self._placed(np.where(changed, 0, users))]
        if changed.any():
            coefficients[self._placed(np.flatnonzero(changed))] = self._coefficients(histories[changed])
        return self._by_users(histories, coefficients, changed)

    def _histories(self, users: np.ndarray) -> csr_array:
        return history.read(self.history_[users], self.scheme)

    def _by_items(self, histories: csr_array) -> Array:
        weights = native(self.weights_)
        if isinstance(weights, np.ndarray):
            return mixed_product(histories, weights)
        return torch.from_numpy(histories.toarray()).to(weights.device) @ weights

    def _by_users(self, histories: csr_array, coefficients: Array, new: np.ndarray) -> Array:
        """``x − λ x P / (1 − h)``; ``λ x P`` is ``c X`` for users of the fit and ``x + c X`` for new ones."""
        complement = native(self.complement_)
        scores = times_sparse(coefficients, self.inputs_)
        scores /= -complement
        pairs = histories.tocoo()
        users, items = self._placed(pairs.row), self._placed(pairs.col)
        values, new = self._placed(pairs.data), self._placed(new.astype(np.float32))
        scores[users, items] += values * (1 - new[users] / complement[items])
        return scores

    def _coefficients(self, histories: csr_array) -> Array:
        """``−x Xᵀ A / λ``, shape (n, n_rows)."""
        kernel = self._placed((histories @ self.inputs_).toarray())
        return kernel @ native(self.inverse_) / -self.regularization

    def _weights_into(self, item: int, owned: np.ndarray) -> np.ndarray:
        """B_ji for j in `owned`, on the host."""
        if self.weights_.numel():
            return self.weights_[:, item].cpu().numpy()[owned]
        column = self._placed(self.inputs_[[item], :].toarray()[0])
        effect = torch.as_tensor(native(self.inverse_) @ column).cpu().numpy()
        weights = self.inputs_[owned] @ effect / (self.regularization * float(self.complement_[item]))
        return np.where(owned == item, 0, weights).astype(np.float32)

    def _checked_side(self, train: Interactions, side: csr_array) -> csr_array:
        if not issparse(side) or side.shape[1] != train.n_items:
            raise ValueError(
                f"side must be sparse with one column for each of {train.n_items} items, "
                f"got {type(side).__name__} of shape {np.shape(side)}"
            )
        side = csr_array(side, dtype=np.float32) * np.float32(self.side_weight)
        if not np.isfinite(side.data).all():
            raise ValueError("side holds values that are not finite")
        return side

    def _placed(self, values: np.ndarray) -> Array:
        return values if self._device().type == "cpu" else torch.from_numpy(values).to(self._device())


def gram(rows: csr_array) -> np.ndarray:
    """Products of all rows with each other, shape (n_rows, n_rows), float64."""
    rows = rows.astype(np.float64)
    columns = rows.T.tocsr()
    products = np.empty((rows.shape[0], rows.shape[0]))

    def fill(block: slice) -> None:  # by blocks, since a sparse product of all rows is nearly full
        products[block] = (rows[block] @ columns).toarray()

    workers.run(fill, _blocks(len(products)), workers.worker_count())
    return products


def invert(matrix: np.ndarray, device: torch.device) -> Array:
    """Invert a symmetric positive definite matrix in float64; a NumPy array comes back on the host."""
    if device.type not in ("cpu", "mps"):
        return torch.cholesky_inverse(torch.linalg.cholesky(torch.from_numpy(matrix).to(device)))
    # SciPy's OpenBLAS and not torch's MKL, which may be several times slower. The transpose is the same
    # matrix in LAPACK's order, so nothing is copied.
    factor, lower = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    inverse, _ = lapack.dpotri(factor, lower=lower, overwrite_c=True)
    for start in range(0, len(inverse), _BLOCK):  # LAPACK fills one triangle
        stop = start + _BLOCK
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        square = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = square + np.tril(square, -1).T
    return inverse.T  # the same, in the order of NumPy


def times_sparse(left: Array, columns: csr_array) -> Array:
    """``left @ columns.T`` for a dense and a sparse matrix, computed where the dense one is."""
    if isinstance(left, np.ndarray):
        return mixed_product(columns, left.T).T
    return torch.cat([left @ block.T for block in _dense_blocks(columns, left)], 1)


def quadratic_forms(matrix: Array, columns: csr_array) -> Array:
    """``x_iᵀ A x_i`` for each row x_i of `columns` and a symmetric A, without keeping all of ``A X``."""
    if not isinstance(matrix, np.ndarray):
        return torch.cat([((block @ matrix) * block).sum(1) for block in _dense_blocks(columns, matrix)])

    def form(block: slice) -> np.ndarray:
        pairs = columns[:, block].tocoo()
        products = columns @ np.ascontiguousarray(matrix[:, block])
        return np.bincount(pairs.row, products[pairs.row, pairs.col] * pairs.data, columns.shape[0])

    return np.sum(workers.run(form, _blocks(len(matrix)), workers.worker_count()), axis=0)


def _blocks(total: int) -> list[slice]:
    return workers.even_slices(total, max(workers.worker_count(), -(-total // _BLOCK)))


def _dense_blocks(rows: csr_array, like: torch.Tensor) -> Iterator[torch.Tensor]:
    """All rows in order, dense, on the device and in the precision of a tensor."""
    height = max(1, _DEVICE_BYTES // (like.element_size() * max(1, rows.shape[1])))
    for block in workers.even_slices(rows.shape[0], -(-rows.shape[0] // height)):
        yield torch.from_numpy(rows[block].toarray()).to(like.device, like.dtype)
