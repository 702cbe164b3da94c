"""One training step: forward, backward, clipping, update; and what to say when it fails."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from recsys_lib.text.tasks import Batch, Output

CLIP = 1.0  # longest gradient; longer ones are shortened to it


def train_step(
    model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, where: str
) -> float:
    """Train on one batch and return its loss; raise before any weight changes if it is not finite."""
    device = next(model.parameters()).device
    batch = to_device(batch, device)
    with _precision(device):
        loss = model(**batch).loss
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = nn.utils.clip_grad_norm_(weights, CLIP)
    # Read together: a GPU has to finish all its work before it can tell a number.
    loss, norm = torch.stack([loss.detach().float(), norm.float()]).tolist()
    _check_finite(loss, "loss", where)
    if not scaler.is_enabled():  # the scaler itself skips a step whose gradient has overflowed
        _check_finite(norm, "gradient", where)
    scaler.step(optimizer)
    scaler.update()
    return loss


def evaluate(model: nn.Module, batch: Batch) -> Output:
    """Run the model without dropout and without gradients."""
    was_training = model.training
    model.eval()
    with torch.inference_mode(), _precision(next(model.parameters()).device):
        output = model(**batch)
    model.train(was_training)
    return output


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type to compute in; None for none."""
    # Only on CUDA: on a CPU half precision is emulated, 15 to 40 times slower than float32.
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _precision(device: torch.device) -> AbstractContextManager:
    half = half_precision(device)
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)


def fork_rng(device: torch.device) -> AbstractContextManager:
    """Leave torch's global random numbers, those of the CPU and of the device, as they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def seed_torch(device: torch.device, key: list[int]) -> None:
    """Start torch's random numbers over, at a place that depends on nothing but `key`."""
    number = int(np.random.default_rng(key).integers(2**62))
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


@contextmanager
def memory_advice(batch: Batch) -> Iterator[None]:
    """Turn every way of running out of memory into a MemoryError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not full:
            raise
        shape = " × ".join(map(str, next(iter(batch.values())).shape))
        raise MemoryError(
            f"the memory is full at a batch of {shape} (texts × tokens). Halve batch_size, shorten "
            "the texts, train adapters only (add_adapters), or take a smaller model."
        ) from error


def _check_finite(value: float, what: str, where: str) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the {what} is {value} at {where}. The weights are those from before this batch. "
            "Look at these examples; a smaller rate may help."
        )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device."""
    return {name: value.to(device) for name, value in batch.items()}
