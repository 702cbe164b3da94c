"""NumPy on the host, torch elsewhere: decided here, once for all models."""

import numpy as np
import torch

from recsys_lib.scoring.checks import Array as Array


def as_native(tensor: torch.Tensor) -> Array:
    """Return the same memory as a NumPy array on the host, where NumPy's products are the faster ones."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def to_numpy(values: Array) -> np.ndarray:
    """Return the same numbers as a NumPy array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def place(values: Array, device: torch.device) -> Array:
    """Put values where the work happens: a NumPy array on the host, else a tensor on the device."""
    return to_numpy(values) if device.type == "cpu" else torch.as_tensor(values).to(device)


def rows_at(factors: torch.Tensor, positions: np.ndarray) -> Array:
    """Pick the rows of a tensor at positions that are known on the host."""
    return as_native(factors[torch.from_numpy(positions).to(factors.device)])
