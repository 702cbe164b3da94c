"""The state of a training run on disk, so that it can go on after an interruption with the same result."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from recsys_lib.files import atomic_path
from recsys_lib.text.encoder import model_digest
from recsys_lib.text.tasks import Examples

VERSION = 1  # raise it whenever a stored state of before would be read wrongly
SAMPLE = 64  # examples whose tokens and labels are compared, besides the lengths of all


class State(NamedTuple):
    """Where a run stands: `batch` batches of `epoch` are done; `best` holds the best weights so far."""

    history: dict[str, Any]
    epoch: int
    batch: int
    best: dict[str, torch.Tensor] | None


class Checkpoint:
    """One file with weights, optimiser and counters; written whole or not at all.

    Parameters
    ----------
    folder : str or Path
    model : nn.Module
        Weights that do not learn are not stored, but must be the same when the run goes on.
    run : dict
        Settings of the run.
    train : Examples
    """

    def __init__(self, folder: str | Path, model: nn.Module, run: dict[str, Any], train: Examples) -> None:
        self.path = Path(folder) / "training.safetensors"
        self.run = {
            **run,
            "version": VERSION,
            "frozen weights and shapes": model_digest(model, frozen_only=True),
            "training examples": _examples_digest(train),
        }

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler,
        history: dict[str, Any], epoch: int, batch: int, best: dict[str, torch.Tensor] | None,
    ) -> None:  # fmt: skip
        """Store the state after `batch` batches of `epoch`."""
        tensors = {f"model.{name}": value for name, value in learning_state(model).items()}
        tensors |= {f"best.{name}": value for name, value in (best or {}).items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        importance, ranks = _adapter_state(model)
        tensors |= {f"adapter.{name}": value for name, value in importance.items()}
        # A copy of each: safetensors refuses tensors that share memory, such as tied weights.
        tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        state = {
            "run": self.run, "history": history, "epoch": epoch, "batch": batch, "ranks": ranks,
            "scaler": scaler.state_dict(), "sha256": _checksum(tensors),
        }  # fmt: skip
        with atomic_path(self.path) as temporary:
            save_file(tensors, temporary, metadata={"state": json.dumps(state)})

    def load(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> State | None:
        """Put the stored state into model, optimiser and scaler; None if there is none.

        Raises
        ------
        ValueError
            If the file is damaged or belongs to another run.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if state["sha256"] != _checksum(tensors):
                raise ValueError("its checksum differs")
            stored = state["run"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"the checkpoint {self.path} is damaged ({error}): delete it to begin anew"
            ) from error
        other = [name for name in self.run if stored.get(name) != self.run[name]]
        if other:
            raise ValueError(
                f"the checkpoint {self.path} belongs to another run: {', '.join(other)} differ. Delete it to "
                "begin anew, or give another folder"
            )
        set_learning_state(model, _part(tensors, "model."))
        _set_optimizer(optimizer, _part(tensors, "optimizer."))
        _set_adapter_state(model, _part(tensors, "adapter."), state["ranks"])
        scaler.load_state_dict(state["scaler"])
        best = _part(tensors, "best.") or None
        return State(state["history"], state["epoch"], state["batch"], best)


def learning_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the weights that training changes, by name."""
    return {n: w.detach().clone() for n, w in model.named_parameters() if w.requires_grad or "ranknum" in n}


def set_learning_state(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put back what `learning_state` returned."""
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            weights[name].copy_(value)


def _set_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    whole = optimizer.state_dict()
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        whole["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(whole)


def _adapter_state(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    # AdaLoRA keeps the importance of its ranks outside of the weights.
    allocator = getattr(model, "rankallocator", None)
    if allocator is None:
        return {}, None
    kinds = ("ipt", "exp_avg_ipt", "exp_avg_unc")
    tensors = {f"{kind}/{name}": value for kind in kinds for name, value in getattr(allocator, kind).items()}
    return tensors, allocator.peft_config.rank_pattern


def _set_adapter_state(
    model: nn.Module, tensors: dict[str, torch.Tensor], ranks: dict[str, Any] | None
) -> None:
    allocator = getattr(model, "rankallocator", None)
    if allocator is None:
        return
    device = next(model.parameters()).device
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        getattr(allocator, kind)[name] = value.to(device)
    allocator.peft_config.rank_pattern = ranks


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _examples_digest(examples: Examples) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(examples.lengths))
    rows = np.linspace(0, len(examples.lengths) - 1, SAMPLE).astype(np.int64)
    for name, value in sorted(examples.batch(np.unique(rows), np.random.default_rng(0)).items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
