"""What a value means: above 0 an interaction, 0 nothing, below 0 a return that takes back earlier ones."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

# Raises a ValueError for the first row that a mask marks; each door words it with its own place (file, row).
Refuse = Callable[[np.ndarray, str], None]

_NO_NUMBERS = {"boolean", "bytes", "complex", "date", "datetime", "datetime64", "interval", "period", "time"}
_NO_NUMBERS |= {"timedelta", "timedelta64"}
_ROUNDING = 1e-9  # of a value: what is less of it is left over by rounding, not by a return


class Netted(NamedTuple):
    """Values after returns, and what has happened in words ("" if nothing has)."""

    values: np.ndarray
    told: str


def read_values(column: pd.Series, refuse: Refuse) -> np.ndarray:
    """Return a column of numbers as float64, each of them finite, in 32 bits too.

    Parameters
    ----------
    column : pandas.Series
        Numbers, or text that holds numbers.
    refuse : function
        See `Refuse`.
    """
    column = plain_column(column)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in _NO_NUMBERS:
        words = f"expected numbers, but this column holds {kind} values"
        refuse(np.ones(len(column), bool), words + ("; .astype(int) makes 0 and 1" * (kind == "boolean")))
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    refuse(~np.isfinite(numbers), "expected a finite number")
    with np.errstate(over="ignore", under="ignore"):
        single = numbers.astype(np.float32)
    lost = np.isinf(single) | ((single == 0) & (numbers != 0))
    refuse(lost, "expected a number that 32 bits can hold: 0, or 1e-45 to 3.4e38 in size")
    return numbers


def plain_column(column: pd.Series) -> pd.Series:
    """Return a categorical column as its values; any other as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(column.cat.categories.dtype)
    return column


def net_values(pairs: np.ndarray, values: np.ndarray, times: np.ndarray | None) -> Netted:
    """Let returns take back what the same pair took before, the most recent first.

    Parameters
    ----------
    pairs : integer array, shape (n,)
        One number per (user, item) pair.
    values : float64 array, shape (n,)
        Below 0: a return or a correction.
    times : array, shape (n,), optional
        A return takes back what is not later; of one moment, purchases come before returns. Without times,
        everything counts as before.

    Returns
    -------
    Netted
        What is left of each row: 0 of returns, and of what was taken back. A return that finds nothing, or
        too little, takes back nothing that comes later.
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
