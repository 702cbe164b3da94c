"""Smaller and faster BERTs: weights of eight bits, fewer layers."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional

from recsys_lib.text.encoder import TextModel

LARGEST = 127  # of an int8; −128 stays unused, so that steps are the same on both sides of 0
Model = TypeVar("Model", bound=nn.Module)

# ---- eight bits instead of 32


def to_int8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round every row to 255 even steps between minus and plus its largest value.

    Return int8 of shape (n, width), and the step of each row, shape (n, 1). Their product is the row again,
    but for at most half a step.

    Examples
    --------
    >>> to_int8(torch.tensor([[-1.27, 0.304, 1.0]]))[0]
    tensor([[-127,   30,  100]], dtype=torch.int8)
    """
    step = values.abs().amax(dim=1, keepdim=True) / LARGEST
    step = step.clamp_min(torch.finfo(values.dtype).tiny)  # a row of zeros stays one
    return (values / step).round().to(torch.int8), step


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8, with one step per output; made from one that stays as it is.

    On a CPU that multiplies int8 in hardware (VNNI) each input row is rounded to int8 as well, and the
    product is made of integers: W x ≈ step_W · step_x · (int8 W · int8 x). Elsewhere the weights are made
    float for each product, which saves memory and no time.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, step = to_int8(layer.weight.detach().float())
        # Parameters, not buffers: a model's checksum, and so the key of its cached vectors, reads parameters.
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.step = nn.Parameter(step.squeeze(1), requires_grad=False)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x Wᵀ + b, shape (…, n_out)."""
        if not (x.device.type == "cpu" and torch.cpu._is_vnni_supported()):
            return functional.linear(x, self.weight.to(x.dtype) * self.step[:, None].to(x.dtype), self.bias)
        rows, steps = to_int8(x.reshape(-1, x.shape[-1]))
        product = torch._int_mm(rows, self.weight.T).to(x.dtype).mul_(steps).mul_(self.step)
        product = product if self.bias is None else product.add_(self.bias)
        return product.view(*x.shape[:-1], -1)


class Int8Embedding(nn.Module):
    """A table of vectors, such as the words', whose rows are int8, with one step per row."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight, step = to_int8(table.weight.detach().float())
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.step = nn.Parameter(step, requires_grad=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of some rows, float32 of shape (…, width)."""
        return self.weight[ids] * self.step[ids]


def quantize(model: Model) -> Model:
    """Copy a model and give its linear layers and embeddings eight bits: about a quarter of the bytes.

    Parameters
    ----------
    model : nn.Module
        A `PairClassifier` or the `model` of a `TextModel`, as in
        `dataclasses.replace(text_model, model=quantize(text_model.model))`. It stays as it is.

    Returns
    -------
    nn.Module
        In evaluation mode, for prediction only: no weight of it learns. Adapters have to be merged first.

    References
    ----------
    Dettmers et al. (2022), "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale".
    """
    kinds = {nn.Linear: Int8Linear, nn.Embedding: Int8Embedding}
    names = {name: kinds[type(module)] for name, module in model.named_modules() if type(module) in kinds}
    if not names:
        raise ValueError("the model has no linear layer (left): there is nothing to quantise")
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise ValueError("the model has adapters: put them into its weights first, merge_adapters(model)")
    small = deepcopy(model)
    for name, kind in names.items():
        small.set_submodule(name, kind(small.get_submodule(name)))
    return small.requires_grad_(False).eval()


def model_bytes(model: nn.Module) -> int:
    """Count the bytes of all of a model's weights, steps and biases included.

    Examples
    --------
    >>> model_bytes(nn.Linear(3, 2)), model_bytes(Int8Linear(nn.Linear(3, 2)))
    (32, 22)
    """
    return sum(weight.nbytes for weight in model.parameters())


# ---- fewer layers


def drop_layers(text_model: TextModel, keep: Sequence[int]) -> TextModel:
    """Copy a model with only some of its layers.

    Parameters
    ----------
    text_model : TextModel
        Stays as it is.
    keep : sequence of int
        Numbers of the layers, from 0, in rising order.

    Returns
    -------
    TextModel
        To be trained before use: the remaining layers learned to work with the others.

    References
    ----------
    Sajjad et al. (2023), "On the Effect of Dropping Layers of Pre-trained Transformer Models".
    """
    keep, n_layers = list(keep), len(text_model.encoder.encoder.layer)
    if not keep or sorted(set(keep)) != keep or not 0 <= keep[0] <= keep[-1] < n_layers:
        raise ValueError(f"keep must name some of the layers 0 to {n_layers - 1} in rising order, got {keep}")
    small = replace(text_model, model=deepcopy(text_model.model))
    small.encoder.encoder.layer = nn.ModuleList(small.encoder.encoder.layer[i] for i in keep)
    for model in (small.model, small.encoder):
        model.config.num_hidden_layers = len(keep)
    return small
