"""Fine-tuning few weights: LoRA and AdaLoRA beside the frozen ones of a BERT."""

import torch
from torch import nn

TARGETS = ("query", "value")  # of every attention layer, as in the paper


def add_adapters(
    model: nn.Module,
    kind: str = "lora",
    *,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    targets: tuple[str, ...] = TARGETS,
    head: str | None = "head",
    steps: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """Freeze a model and add small trainable matrices beside its attention.

    LoRA adds B·A·alpha/rank to a frozen matrix W, where A and B are `rank` wide. AdaLoRA writes the sum as
    B·Λ·A with a diagonal Λ, begins with 1.5 times the rank, and during training gives up the ranks that
    matter least.

    Parameters
    ----------
    model : nn.Module
        A `PairClassifier`, `ContrastiveModel` or other model around a BERT; changed in place.
    kind : str
        "lora" or "adalora".
    rank : int
        For AdaLoRA the mean rank at the end.
    alpha : int
        Weight of the sum.
    dropout : float
    targets : tuple of str
        Names of the linear layers that get adapters.
    head : str, optional
        Name of a layer that is trained in full; None if there is none.
    steps : int, optional
        AdaLoRA only: number of training steps, epochs × batches.
    seed : int

    Returns
    -------
    nn.Module
        To be trained in the place of `model`. For AdaLoRA its loss also holds a penalty on ranks that
        overlap; `mean_loss` leaves it out.

    Raises
    ------
    ValueError
        If the kind is unknown, or AdaLoRA is not told the number of steps.

    References
    ----------
    Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models".
    Zhang et al. (2023), "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning".
    """
    # Imported here: it takes seconds, and most uses of this package need no adapters.
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    common = dict(
        lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets),
        modules_to_save=None if head is None else [head],
    )  # fmt: skip
    if kind == "lora":
        config = LoraConfig(r=rank, **common)
    elif kind == "adalora":
        if not steps or steps < 10:
            raise ValueError(
                f"AdaLoRA plans its ranks over the whole training: give steps (≥ 10), got {steps}"
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
