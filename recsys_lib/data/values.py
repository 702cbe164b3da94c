"""What a value means: above 0 an interaction, 0 nothing, below 0 a return that takes back earlier ones."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, issparse

# Raises a ValueError for the first row that a mask marks; each door words it with its own place (file, row).
Refuse = Callable[[np.ndarray, str], None]

_NO_NUMBERS = {"boolean", "bytes", "complex", "date", "datetime", "datetime64", "interval", "period", "time"}
_NO_NUMBERS |= {"timedelta", "timedelta64"}
_ROUNDING = 1e-12  # of a value: what is less of it is left over by rounding, not by a return
# Of a value that is not 0: squares of it, and sums of these, have to stay finite and above 0 in 32 bits.
SMALLEST, LARGEST = 1e-9, 1e15


class Netted(NamedTuple):
    """Values after returns, and what has happened in words ("" if nothing has)."""

    values: np.ndarray
    told: str


def read_values(column: pd.Series, refuse: Refuse) -> np.ndarray:
    """Return numbers, or text that holds numbers, as float64: finite, 0 or of a size that models can use."""
    column = plain_column(column)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in _NO_NUMBERS:
        words = f"expected numbers, but this column holds {kind} values"
        refuse(np.ones(len(column), bool), words + ("; .astype(int) makes 0 and 1" * (kind == "boolean")))
    if column.dtype == object:
        truths = column.map(lambda entry: isinstance(entry, bool | np.bool_)).to_numpy(bool)
        refuse(truths, "expected a number, and this is a truth value: .astype(int) makes 0 and 1")
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    refuse(~np.isfinite(numbers), "expected a finite number")
    size = np.abs(numbers)
    far = (size > LARGEST) | ((size < SMALLEST) & (numbers != 0))
    refuse(far, f"expected 0 or a number of {SMALLEST:g} to {LARGEST:g} in size")
    return numbers


def summed_pairs(matrix: object, refuse: Callable[[int, int, float], None]) -> csr_array:
    """Return any sparse matrix as a csr_array of float32: sorted, unique indices, values above 0.

    It is not changed. What is stored twice is added up in 64 bits; stored zeros are left out. `refuse`, a
    function of row, column and value, raises for a value that is negative, not finite or not of `SMALLEST` to
    `LARGEST`.
    """
    if not issparse(matrix) or matrix.ndim != 2:
        kind = f"{type(matrix).__name__} of shape {np.shape(matrix)}"
        raise ValueError(f"expected a SciPy sparse matrix or array of 2 dimensions, got {kind}")
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"expected a matrix of numbers, got {matrix.dtype}")
    _check_indices(matrix)
    found = matrix
    if not isinstance(matrix, csr_array) or matrix.dtype != np.float32 or not matrix.has_canonical_format:
        wide = csr_array(matrix.astype(np.float64))
        wide = wide.copy() if wide.data is getattr(matrix, "data", None) else wide
        if not wide.has_canonical_format or matrix.format == "coo":
            wide.sum_duplicates()
            wide.data[np.abs(wide.data) < SMALLEST * 1e-3] = 0  # what rounding left over
        with np.errstate(over="ignore"):
            found = wide.astype(np.float32)
    bad = ~((found.data == 0) | ((found.data >= SMALLEST) & (found.data <= LARGEST * (1 + 1e-6))))
    if bad.any():
        place = int(np.argmax(bad))
        row = int(np.searchsorted(found.indptr, place, side="right") - 1)
        refuse(row, int(found.indices[place]), float(found.data[place]))
    if not found.data.all():
        found = found.copy() if found is matrix else found
        found.eliminate_zeros()
    return found


def _check_indices(matrix: object) -> None:
    """Refuse a matrix that would make compiled code read or write beyond its arrays."""
    if matrix.format not in ("csr", "csc"):
        return
    _, width = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    indices, ends = matrix.indices, matrix.indptr
    if ends[0] != 0 or ends[-1] > len(indices) or (np.diff(ends) < 0).any():
        raise ValueError("the sparse matrix is damaged: its indptr does not rise from 0 to its stored values")
    if len(indices) and (indices.min() < 0 or indices.max() >= width):
        outside = indices[(indices < 0) | (indices >= width)][0]
        raise ValueError(f"the sparse matrix is damaged: it has an index {outside}, outside 0 … {width - 1}")


def plain_column(column: pd.Series) -> pd.Series:
    """Return a categorical column as its values; any other as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(column.cat.categories.dtype)
    return column


def net_values(pairs: np.ndarray, values: np.ndarray, times: np.ndarray | None) -> Netted:
    """Let returns, which are values below 0, take back what the same pair took before, the most recent first.

    All arrays have shape (n,); `pairs` holds one number per (user, item) pair. A return takes back what is
    not later; of one moment, purchases come before returns; without times, everything counts as before. What
    is left is 0 of returns, and of what was taken back; a return that finds nothing, or too little, takes
    back nothing that comes later.
    """
    zeros, returns = values == 0, values < 0
    left, unmatched = values.copy(), 0
    concerned = np.flatnonzero(np.isin(pairs, np.unique(pairs[returns])) & ~zeros)
    moments = np.zeros(len(concerned)) if times is None else times[concerned]
    order = concerned[np.lexsort((returns[concerned], moments, pairs[concerned]))]
    pair, taken = None, []  # rows of this pair that still hold something, the most recent last
    for row, its_pair, value in zip(
        order.tolist(), pairs[order].tolist(), values[order].tolist(), strict=True
    ):
        if its_pair != pair:
            pair, taken = its_pair, []
        if value > 0:
            taken.append(row)
            continue
        unmatched += _take_back(-value, taken, left, values)
    left[returns] = 0
    told = []
    if zeros.any():
        told.append(f"rows of 0, which are no interactions and were left out: {zeros.sum():,}")
    if returns.any():
        told.append(
            "returns (below 0), which take back what the same user took of the same item before: "
            f"{returns.sum():,}, of which {unmatched:,} found nothing or too little to take back"
        )
    return Netted(left, "; ".join(told))


def _take_back(owed: float, taken: list[int], left: np.ndarray, values: np.ndarray) -> bool:
    """Lower `left` of the rows in `taken`, the last first; say whether something stays owed."""
    least = _ROUNDING * owed
    while owed > least and taken:
        row = taken[-1]
        part = min(left[row], owed)
        left[row], owed = left[row] - part, owed - part
        if left[row] <= _ROUNDING * values[row]:
            left[row] = 0
            taken.pop()
    return owed > least
