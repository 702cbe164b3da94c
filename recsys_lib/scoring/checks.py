"""Refuse what cannot be ranked, with a message that says what is wrong and where."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from recsys_lib.scoring import workers

Array = np.ndarray | torch.Tensor
_FLOATS = (np.float16, np.float32, np.float64, torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MAX_ITEMS = 2**31 - 1  # an id shares one 64-bit key with its score


def rule(holds: Callable[[Any], bool], words: str) -> Callable[..., None]:
    """Make a check that raises a ValueError for the first value, given by name, that does not keep a rule."""

    def check(**values: Any) -> None:
        for name, value in values.items():
            if not holds(value):
                raise ValueError(f"{name} must {words}, got {value!r}")

    return check


def is_whole(value: object, least: int) -> bool:
    """Say whether a value is a whole number of at least so much; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_) and value >= least


check_count = rule(lambda value: is_whole(value, 1), "be a whole number of at least 1")


def check_floats(name: str, values: Array) -> None:
    """Raise unless `values` is a two-dimensional array or tensor of floating-point numbers."""
    if not isinstance(values, Array):
        raise ValueError(f"{name} must be a NumPy array or a torch tensor, got {type(values).__name__}")
    kind = values.dtype if isinstance(values, torch.Tensor) else values.dtype.type
    if kind not in _FLOATS:
        raise ValueError(f"{name} must hold floating-point numbers of at most 64 bits, got {values.dtype}")
    if values.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional, got shape {tuple(values.shape)}")


def check_factors(queries: Array, items: Array) -> None:
    """Raise unless the two can be multiplied where they are."""
    check_floats("queries", queries)
    check_floats("items", items)
    if isinstance(queries, torch.Tensor) != isinstance(items, torch.Tensor):
        raise ValueError(
            f"queries and items must be of one kind, got {type(queries).__name__} and {type(items).__name__}"
        )
    if isinstance(queries, torch.Tensor) and queries.device != items.device:
        raise ValueError(f"queries are on device {queries.device}, items on {items.device}: move one of them")
    if queries.shape[1] != items.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} factors, items have {items.shape[1]}")
    if items.shape[0] > _MAX_ITEMS:
        raise ValueError(f"at most {_MAX_ITEMS} items can be ranked, got {items.shape[0]}")


def check_exclude(exclude: object, shape: tuple[int, int]) -> csr_array | None:
    """Return the seen items as CSR (indices may be unsorted or repeated), or raise."""
    if exclude is None:
        return None
    if not issparse(exclude):
        raise ValueError(f"exclude must be a scipy sparse matrix or array, got {type(exclude).__name__}")
    if exclude.shape != shape:
        raise ValueError(
            f"exclude has shape {exclude.shape}, but there are {shape[0]} queries and {shape[1]} items"
        )
    seen = exclude.tocsr()  # itself, where it is CSR already
    if seen.nnz and (seen.indices.min() < 0 or seen.indices.max() >= shape[1]):
        raise ValueError(f"exclude holds item ids outside 0 … {shape[1] - 1}")
    return seen


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a name stands for; "auto" is an accelerator if there is one, else the host.

    Raises ValueError if there is no such device, or none on this machine.
    """
    if device == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'mps', got {device!r}") from error
    try:
        torch.empty(0, device=found)  # no backend says beforehand whether this will work
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ValueError(f"device {str(device)!r} is not available here: {reason}") from error
    return found


def device_of(values: Array, device: str | torch.device | None) -> torch.device:
    """Say where to compute: tensors stay where they are, arrays go where they are sent."""
    if not isinstance(values, torch.Tensor):
        return resolve_device("cpu" if device is None else device)
    if device not in (None, "auto"):
        wanted = resolve_device(device)
        if wanted.type != values.device.type or wanted.index not in (None, values.device.index):
            raise ValueError(f"the tensors are on device {values.device}, not {wanted}: move them first")
    return values.device


def check_values(queries: Array, items: Array) -> None:
    """Raise if a factor is NaN or infinite, or so large that scores overflow.

    One number comes out of all factors, so on an accelerator the host waits for it once.
    """
    largest = _largest(queries) * _largest(items) * max(1, queries.shape[1])
    is_double = any(part.dtype in (np.float64, torch.float64) for part in (queries, items))
    if float(largest) < float(np.finfo(np.float64 if is_double else np.float32).max):  # false for NaN too
        return
    for name, values in (("queries", queries), ("items", items)):
        for start in range(0, values.shape[0], 4096):
            block = values[start : start + 4096]
            _refuse_first(name, block, ~(abs(block) < np.inf), start, "; factors must be finite")
    raise ValueError("the factors are finite, but so large that scores may overflow: scale them down")


def check_scores(name: str, scores: Array, first_row: int) -> None:
    """Raise if a score is NaN; -inf is allowed and means "not a candidate"."""
    _refuse_first(name, scores, scores != scores, first_row)


def _refuse_first(name: str, values: Array, bad: Array, first_row: int, rule: str = "") -> None:
    """Raise with the place of the first bad value, if there is one."""
    if bool(bad.any()):
        row, column = divmod(int((bad * 1).argmax()), bad.shape[1])
        kind = "nan" if bool(values[row, column] != values[row, column]) else "infinite"
        raise ValueError(f"{name}[{row + first_row}, {column}] is {kind}{rule}")


def _largest(values: Array) -> torch.Tensor | float:
    """Bound the absolute values: NaN or inf if one of them is."""
    if 0 in values.shape:
        return 0.0
    if isinstance(values, torch.Tensor):
        low, high = torch.aminmax(values)
        return torch.maximum(-low, high).to(torch.promote_types(values.dtype, torch.float32))
    rows = max(1, 2**16 // values.shape[1])  # a block that stays in the cache for its two passes

    def largest(part: slice) -> float:
        own = values[part]
        blocks = (own[start : start + rows] for start in range(0, len(own), rows))
        return float(np.max([[block.max(), -block.min()] for block in blocks]))

    # Not by torch on all cores: its threads stay awake for a while and would slow down what follows.
    parts = workers.even_slices(len(values), workers.worker_count() if len(values) > 64 * rows else 1)
    return float(np.max(workers.run(largest, parts)))
