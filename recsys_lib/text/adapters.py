"""Fine-tuning few weights: LoRA, small matrices beside the frozen ones of a BERT."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recsys_lib.files import load_tensors

TARGETS = ("query", "value")  # linear layers of every attention block that get adapters, as in the paper
ALPHA = 16  # weight of the adapters' sum


class LowRank(nn.Module):
    """A frozen linear layer W x + b with a learned correction beside it: + 16/rank · B A x.

    The layer becomes part of this one; its weights stay as they are. The generator, on the CPU, draws A. B
    starts at 0, so that at first the layer answers as before.
    """

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = layer.in_features**-0.5
        down = torch.empty(rank, layer.in_features).uniform_(-bound, bound, generator=generator)
        self.layer = layer
        self.lora_a = nn.Parameter(down.to(layer.weight.device))
        self.lora_b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        self.scale = ALPHA / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x Wᵀ + b + 16/rank · (x Aᵀ) Bᵀ, shape (…, n_out)."""
        correction = functional.linear(functional.linear(x, self.lora_a), self.lora_b)
        return self.layer(x) + self.scale * correction


def add_adapters(model: nn.Module, *, rank: int = 8, seed: int = 0) -> nn.Module:
    """Freeze a model and add small trainable matrices beside its attention's queries and values.

    A layer named `head`, if there is one, is trained in full.

    Parameters
    ----------
    model : nn.Module
        A `PairClassifier`, `ContrastiveModel` or other model around a BERT; changed in place.

    Returns
    -------
    nn.Module
        The same model.

    References
    ----------
    Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models".
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    names = [name for name, _ in model.named_modules() if name.rpartition(".")[2] in TARGETS]
    if not names or _adapted(model):
        raise ValueError(f"the model has no layers named {' or '.join(TARGETS)}, or has its adapters already")
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for name in names:
        model.set_submodule(name, LowRank(model.get_submodule(name), rank, generator))
    if hasattr(model, "head"):
        model.head.requires_grad_(True)
    return model


def merge_adapters(model: nn.Module) -> nn.Module:
    """Add the adapters into the weights beside them: the same answers, at the price of the plain model.

    The model is changed in place and returned; all its weights can be trained again.
    """
    for name in _adapted(model):
        adapter = model.get_submodule(name)
        with torch.no_grad():
            adapter.layer.weight += adapter.scale * adapter.lora_b @ adapter.lora_a
        model.set_submodule(name, adapter.layer)
    return model.requires_grad_(True)


def load_adapters(path: str | Path, model: nn.Module) -> dict[str, Any]:
    """Put saved `trained_weights` into a model that has adapters of the same shape; return the file's stamp.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or belongs to another kind of model.
    """
    tensors, stamp = load_tensors(path)
    shapes = {name: tuple(weight.shape) for name, weight in trained_weights(model).items()}
    if shapes != {name: array.shape for name, array in tensors.items()}:
        raise ValueError(f"{Path(path).name} holds adapters of another model, or of another rank")
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False)
    return stamp


def count_weights(model: nn.Module) -> tuple[int, int]:
    """Return how many weights are trained, and how many there are in all.

    Examples
    --------
    >>> count_weights(nn.Linear(3, 2))
    (8, 8)
    """
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the weights that training changes, by name."""
    return {name: w.detach().clone() for name, w in model.named_parameters() if w.requires_grad}


def _adapted(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, LowRank)]
