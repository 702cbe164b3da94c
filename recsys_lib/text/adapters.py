"""Fine-tuning few weights: LoRA and AdaLoRA beside the frozen ones of a BERT."""

import torch
from torch import nn

TARGETS = ("query", "value")  # linear layers of every attention block that get adapters, as in the paper
ALPHA = 16  # weight of the adapters' sum


def add_adapters(
    model: nn.Module, kind: str = "lora", *, rank: int = 8, steps: int | None = None, seed: int = 0
) -> nn.Module:
    """Freeze a model and add small trainable matrices beside its attention.

    LoRA adds B·A·16/rank to a frozen matrix W, where A and B are `rank` wide. AdaLoRA writes the sum as
    B·Λ·A with a diagonal Λ, starts with 1.5 times the rank, and during training gives up the ranks that
    matter least. A layer named `head`, if there is one, is trained in full.

    Parameters
    ----------
    model : nn.Module
        A `PairClassifier`, `ContrastiveModel` or other model around a BERT; changed in place.
    kind : str
        "lora" or "adalora".
    rank : int
        For AdaLoRA the mean rank at the end.
    steps : int, optional
        Number of training steps, epochs × batches: AdaLoRA only.
    seed : int

    Returns
    -------
    nn.Module
        To be trained in the place of `model`. For AdaLoRA its loss also holds a penalty on ranks that
        overlap; `mean_loss` leaves it out.

    References
    ----------
    Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models".
    Zhang et al. (2023), "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning".
    """
    # Imported here: it takes seconds, and most uses of this package need no adapters.
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    common = dict(lora_alpha=ALPHA, target_modules=list(TARGETS), modules_to_save=["head"])
    if kind == "lora":
        config = LoraConfig(r=rank, **common)
    elif kind == "adalora":
        if not steps or steps < 10:
            raise ValueError(
                f"AdaLoRA plans its ranks over all training steps: give steps (≥ 10), got {steps}"
            )
        # Full rank for the first tenth, the final ranks for the last third.
        plan = dict(tinit=steps // 10, tfinal=steps // 3, deltaT=max(1, steps // 100), total_step=steps)
        config = AdaLoraConfig(init_r=rank + rank // 2, target_r=rank, **plan, **common)
    else:
        raise ValueError(f"kind must be 'lora' or 'adalora', got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # The tuner inside: PeftModel's own forward would leave out AdaLoRA's penalty on ranks that overlap.
        return get_peft_model(model, config).base_model


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


def restore_weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put back what `trained_weights` returned."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


def allocate_ranks(model: nn.Module, step: int) -> None:
    """Let AdaLoRA move its ranks to where they help most, while the gradients of a step are still there."""
    if hasattr(model, "update_and_allocate"):
        model.update_and_allocate(step)


def without_penalty(model: nn.Module) -> nn.Module:
    """Return the model whose loss is that of the task alone, without AdaLoRA's penalty on the ranks."""
    return model.model if hasattr(model, "update_and_allocate") else model
