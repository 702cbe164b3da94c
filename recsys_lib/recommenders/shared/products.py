"""Products of sparse and dense matrices, shared out among the cores, and inverses of Gram matrices."""

import warnings
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from scipy.linalg import cho_factor, get_lapack_funcs
from scipy.sparse import csr_array

from recsys_lib.recommenders.shared.arrays import Array
from recsys_lib.recommenders.shared.checks import check_memory
from recsys_lib.scoring import workers

_COLUMNS = 64  # of a dense factor at once: 2,500 rows of them fit the second-level cache
_ROWS = 256  # of a sparse factor at once: bounds the sparse result before it is made dense
# SciPy 1.17's OpenBLAS on several threads ended in a segmentation fault at 17,000 rows, not at 15,500.
_THREADED_ROWS = 15_000
_DOUBLE_ROWS = 20_000  # a larger Gram matrix and its inverse would take 5 GB and more in float64
_STEEPEST = 1e5  # ‖G‖ / λ up to which float32 keeps two digits even in the worst case
_DEVICE_BYTES = 2**28  # of a sparse matrix made dense on an accelerator, at a time
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")  # torch would say it once to all


def sparse_product(left: csr_array, right: csr_array | np.ndarray) -> np.ndarray:
    """Multiply a sparse matrix and one of its type into a dense array, rows shared out among the cores."""
    result = np.empty((left.shape[0], right.shape[1]), left.dtype)

    def multiply(rows: slice) -> None:  # by blocks, since a sparse product of all rows may be nearly full
        _multiply_into(left[rows], right, result[rows])

    workers.run(multiply, _blocks(left.shape[0], _ROWS))
    return result


def mixed_product(left: csr_array, right: np.ndarray) -> np.ndarray:
    """Multiply a sparse and a dense matrix, columns shared out among the cores.

    A few columns at a time: the sparse factor then finds every row of them in the cache.
    """
    result = np.empty((left.shape[0], right.shape[1]), np.float32)

    def multiply(columns: slice) -> None:
        result[:, columns] = left @ np.ascontiguousarray(right[:, columns])

    workers.run(multiply, _blocks(right.shape[1], _COLUMNS))
    return result


def dense_product(rows: csr_array, matrix: Array) -> Array:
    """Multiply a sparse and a dense matrix where the dense one is."""
    if isinstance(matrix, np.ndarray):
        return mixed_product(rows, matrix)
    return torch.from_numpy(rows.toarray()).to(matrix.device) @ matrix


def transposed_product(left: Array, columns: csr_array) -> Array:
    """Multiply ``left @ columns.T`` for a dense and a sparse matrix, where the dense one is."""
    if isinstance(left, np.ndarray):
        return mixed_product(columns, left.T).T
    return torch.cat([left @ block.T for block in _dense_blocks(columns, left)], 1)


def squared_lengths(vectors: csr_array) -> np.ndarray:
    """Return the inner product of every row with itself, float32, shape (n,)."""
    squares = vectors.data.astype(np.float64) ** 2
    return np.bincount(rows_of(vectors), weights=squares, minlength=vectors.shape[0]).astype(np.float32)


def rows_of(matrix: csr_array) -> np.ndarray:
    """Return the row of every stored entry, in the order in which they are stored."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def user_counts(matrix: csr_array) -> np.ndarray:
    """Count the users who have each item, shape (n_items,)."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])


def gram(rows: csr_array, *, thrifty: bool = False) -> np.ndarray:
    """Multiply all rows with each other, shape (n_rows, n_rows), float64.

    With `thrifty` in float32 where they are many: a third of the memory, the inverse included.
    """
    n, advice = rows.shape[0], "leave out rare items, or take ItemKNN(neighbors=200) or ALS"
    thrifty = thrifty and n > _DOUBLE_ROWS
    check_memory((4 if thrifty else 12) * n * n, f"a matrix of {n:,} × {n:,} with its inverse", advice)
    rows = rows.astype(np.float32 if thrifty else np.float64)
    return sparse_product(rows, rows.T.tocsr())


def item_weights(products: np.ndarray, regularization: float, device: torch.device) -> torch.Tensor:
    """Solve EASE for the weights between items: ``B_ji = −P_ji / P_ii`` with ``P = (G + λ I)⁻¹``.

    G, the Gram matrix, is overwritten; B, float32 with a diagonal of 0, lies on the device. A G in float32
    goes on in float64 where λ is so small that rounding could be seen.
    """
    if products.dtype == np.float32 and np.linalg.norm(products) > _STEEPEST * regularization:
        check_memory(8 * products.size, "so small a λ needs float64, which", "take a larger one")
        products = products.astype(np.float64)
    products[np.diag_indices_from(products)] += regularization
    weights = invert(products, device)
    weights /= -weights.diagonal()
    return torch.as_tensor(weights).fill_diagonal_(0).float().to(device)


def invert(matrix: np.ndarray, device: torch.device) -> Array:
    """Invert a symmetric positive definite matrix in its type; a NumPy array comes back on the host."""
    if device.type not in ("cpu", "mps"):
        return torch.cholesky_inverse(torch.linalg.cholesky(torch.from_numpy(matrix).to(device)))
    # SciPy's OpenBLAS and not torch's MKL, which may be several times slower. The transpose is the same
    # matrix in LAPACK's order, so nothing is copied.
    with workers.single_threaded() if len(matrix) > _THREADED_ROWS else nullcontext():
        factor, lower = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
        (potri,) = get_lapack_funcs(("potri",), (factor,))
        inverse, _ = potri(factor, lower=lower, overwrite_c=True)
    for start in range(0, len(inverse), _ROWS):  # LAPACK fills one triangle
        stop = start + _ROWS
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        square = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = square + np.tril(square, -1).T
    return inverse.T  # the same, in the order of NumPy


def quadratic_forms(matrix: Array, columns: csr_array) -> Array:
    """Return ``x_iᵀ A x_i`` for each row x_i of `columns` and a symmetric A; all of ``A X`` is never kept."""
    if not isinstance(matrix, np.ndarray):
        return torch.cat([((block @ matrix) * block).sum(1) for block in _dense_blocks(columns, matrix)])

    def form(block: slice) -> np.ndarray:
        pairs = columns[:, block].tocoo()
        products = columns @ np.ascontiguousarray(matrix[:, block])
        return np.bincount(pairs.row, products[pairs.row, pairs.col] * pairs.data, columns.shape[0])

    return np.sum(workers.run(form, _blocks(len(matrix), _ROWS)), axis=0)


def _multiply_into(left: csr_array, right: csr_array | np.ndarray, out: np.ndarray) -> None:
    """Write a product of a sparse matrix and a matrix of its type into a dense array of that type.

    SciPy goes over both factors twice, first to count; torch's MKL, where there is one, writes at once: the
    same sums in the same order in a third of the time.
    """
    if isinstance(right, np.ndarray):
        out[:] = left @ right
        return
    if not torch.backends.mkl.is_available():
        (left @ right).toarray(out=out)
        return
    factors = []
    for matrix in (left, right):
        parts = (np.require(part, requirements="W") for part in (matrix.indptr, matrix.indices, matrix.data))
        factors.append(
            torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=matrix.shape, check_invariants=False)
        )
    into = torch.from_numpy(out)
    torch.addmm(into, *factors, beta=0, out=into)


def _blocks(total: int, size: int) -> list[slice]:
    """Even slices of at most `size`, enough for all workers."""
    return workers.even_slices(total, max(workers.worker_count(), -(-total // size)))


def _dense_blocks(rows: csr_array, like: torch.Tensor) -> Iterator[torch.Tensor]:
    """All rows in order, dense, on the device and in the precision of a tensor."""
    height = max(1, _DEVICE_BYTES // (like.element_size() * max(1, rows.shape[1])))
    for block in workers.even_slices(rows.shape[0], -(-rows.shape[0] // height)):
        yield torch.from_numpy(rows[block].toarray()).to(like.device, like.dtype)
