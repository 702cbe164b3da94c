"""Ridge regressions that share most of their matrix, many at a time: the inner loop of ALS.

Row u minimises ``Σ_j c_j (p_j − x · y_j)² + λ ‖x‖²`` over all j, where c = 1 and p = 0 outside its short
history H. Its normal equations have the matrix ``M + Σ_{j in H} (c_j − 1) y_j y_jᵀ`` with ``M = Yᵀ Y + λ I``,
which is the same for all rows. With ``M = R Rᵀ``, ``z_j = R⁻¹ y_j`` and ``x = R⁻ᵀ z`` it becomes the identity
plus ``Σ_{j in H} (c_j − 1) z_j z_jᵀ``: nearly the identity for most rows, which makes a few steps of
conjugate gradients enough, and of low rank for short histories, which makes exact solutions cheap.

Everything is dense arithmetic on padded batches of rows, in NumPy on the host and torch elsewhere.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_lib.recommenders.shared.arrays import Array
from recsys_lib.scoring import workers

HOST_BYTES = 2**20  # of gathered factors per batch: they stay in a core's cache from step to step
DEVICE_BYTES = 2**28
_TINY = 1e-30  # instead of 0 where a row is solved already


class Batch(NamedTuple):
    """Rows of about equal length, padded to the longest."""

    rows: Array  # (n,)
    columns: Array  # (n, length)
    extra: Array  # (n, length, 1): c − 1, 0 in the padding
    targets: Array  # (n, length, 1): c p, 0 in the padding


def batches(confidences: csr_array, factors: int, device: torch.device) -> Iterator[Batch]:
    """Cut the rows that have a history into batches on a device, the longest first.

    `confidences`, shape (n_rows, n_others), holds c of the pairs with preference 1; a stored 0 is a pair like
    those that are not stored.
    """
    lengths = np.diff(confidences.indptr)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    budget = (HOST_BYTES if device.type == "cpu" else DEVICE_BYTES) // (4 * factors)
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        rows = order[start : start + max(1, budget // length)].astype(np.int64)
        inside = np.arange(length) < lengths[rows, None]
        places = np.where(inside, confidences.indptr[rows, None] + np.arange(length), 0)
        columns = np.where(inside, confidences.indices[places], 0).astype(np.int64)
        targets = np.where(inside, confidences.data[places], 0).astype(np.float32)[:, :, None]
        parts = rows, columns, np.where(targets > 0, targets - 1, np.float32(0)), targets
        yield Batch(
            *(parts if device.type == "cpu" else (torch.from_numpy(part).to(device) for part in parts))
        )
        start += len(rows)


def solve(rows: list[Batch], n_rows: int, other: Array, regularization: float) -> Array:
    """Solve for all rows exactly, with the other side's factors, shape (n_others, factors), held fixed.

    Shape (n_rows, factors), of the kind of `other`; rows in no batch get factors of 0.
    """
    shape = n_rows, other.shape[1]
    solved = np.zeros(shape, other.dtype) if isinstance(other, np.ndarray) else other.new_zeros(shape)
    # One thread per batch; the few products over all rows are too small to gain from more.
    with workers.single_threaded():
        _, unwhiten, whitened = _whiten(other, regularization)

        def task(batch: Batch) -> None:
            solved[batch.rows] = _exact(_gather(whitened, batch.columns), batch)

        _for_each(task, rows, solved)
        return solved @ unwhiten


def conjugate_gradient(
    rows: list[Batch], own: Array, other: Array, regularization: float, steps: int
) -> Array:
    """Move all rows towards their solutions by a few steps of preconditioned conjugate gradients.

    They start from `own`, shape (n_rows, factors), which is left as it is. Three steps are nearly exact where
    the confidences are moderate.

    References
    ----------
    Takács, Pilászy & Tikk (2011), "Applications of the conjugate gradient method for implicit feedback
    collaborative filtering", RecSys.
    """
    with workers.single_threaded():
        root, unwhiten, whitened = _whiten(other, regularization)
        solved = own @ root

        def task(batch: Batch) -> None:
            history = _gather(whitened, batch.columns)
            solved[batch.rows] = _descend(solved[batch.rows][:, :, None], history, batch, steps)[:, :, 0]

        _for_each(task, rows, solved)
        return solved @ unwhiten


def _exact(history: Array, batch: Batch) -> Array:
    """Solve for z; `history` holds the z_j of each row's history, shape (n, length, factors)."""
    if history.shape[1] >= history.shape[2]:
        return _solve_systems(history.mT @ (history * batch.extra), history.mT @ batch.targets)[:, :, 0]
    # (I + Zᵀ D Z)⁻¹ Zᵀ = Zᵀ (I + D Z Zᵀ)⁻¹: a system of the history's length, not of the factors'.
    return (history.mT @ _solve_systems(batch.extra * (history @ history.mT), batch.targets))[:, :, 0]


def _descend(z: Array, history: Array, batch: Batch, steps: int) -> Array:
    """Conjugate gradients on all rows of a batch at once; z, shape (n, factors, 1), is overwritten."""
    transposed = history.mT
    residual = transposed @ (batch.targets - batch.extra * (history @ z)) - z
    direction, square = residual + 0, residual.mT @ residual
    for step in range(steps):
        product = transposed @ (batch.extra * (history @ direction)) + direction
        length = square / (direction.mT @ product + _TINY)
        z += length * direction
        if step + 1 < steps:
            residual -= length * product
            before, square = square, residual.mT @ residual
            direction = residual + square / (before + _TINY) * direction
    return z


def _whiten(other: Array, regularization: float) -> tuple[Array, Array, Array]:
    """R, R⁻¹ and ``Z = Y R⁻ᵀ``."""
    linalg = np.linalg if isinstance(other, np.ndarray) else torch.linalg
    kernel = other.T @ other
    _diagonals(kernel)[...] += regularization
    # Not torch.linalg.cholesky: it waits for the device to report whether M is positive definite; it is.
    root = linalg.cholesky(kernel) if linalg is np.linalg else linalg.cholesky_ex(kernel).L
    unwhiten = linalg.inv(root) if linalg is np.linalg else linalg.inv_ex(root).inverse
    return root, unwhiten, other @ unwhiten.T


def _solve_systems(matrices: Array, targets: Array) -> Array:
    """Solve ``(I + A) x = b`` for many A, which are overwritten."""
    _diagonals(matrices)[...] += 1
    if isinstance(matrices, np.ndarray):
        return np.linalg.solve(matrices, targets)
    return torch.linalg.solve_ex(matrices, targets).result


def _gather(factors: Array, columns: Array) -> Array:
    """Rows of the factors, shape (n, length, factors); no column is out of range, so nothing is checked."""
    if isinstance(factors, np.ndarray):
        return np.take(factors, columns, axis=0, mode="clip")
    return factors[columns]


def _for_each(task: Callable[[Batch], None], rows: list[Batch], like: Array) -> None:
    """One batch per core on the host; one after the other on an accelerator."""
    if isinstance(like, np.ndarray):
        workers.run(task, rows)
    else:
        for batch in rows:
            task(batch)


def _diagonals(matrices: Array) -> Array:
    """Return the diagonals of one or many square matrices, as a view to write to."""
    if isinstance(matrices, np.ndarray):
        return np.einsum("...ii->...i", matrices)
    return matrices.diagonal(dim1=-2, dim2=-1)
