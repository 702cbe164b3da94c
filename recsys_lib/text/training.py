"""A training loop to read from top to bottom: AdamW, warm-up, clipping, early stopping."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from recsys_lib.text.adapters import trained_weights
from recsys_lib.text.batches import in_order, length_batches
from recsys_lib.text.steps import (
    evaluate,
    fork_rng,
    half_precision,
    memory_advice,
    seed_torch,
    to_device,
    train_step,
)
from recsys_lib.text.tasks import IGNORED, Batch, Examples

WEIGHT_DECAY = 0.01  # on weight matrices only, not on biases and normalisation
WARMUP = 0.1  # share of all steps in which the learning rate rises from 0
PATIENCE = 1  # epochs in a row without a better validation loss after which training stops
ORDER, DRAWS, DROPOUT, VALIDATION = range(4)  # streams of random numbers, kept apart by these keys


@dataclass
class History:
    """What happened in training."""

    losses: list[float] = field(default_factory=list)  # training loss of each step
    validation: list[float] = field(default_factory=list)  # mean loss on these examples after each epoch
    best_epoch: int = -1  # from 0; the model ends with the weights it had after this epoch
    seconds: float = 0.0  # in training, validation included
    tokens: int = 0  # trained on
    padded: int = 0  # places of the batches that were padding
    stopped_early: bool = False


def fit(
    model: nn.Module,
    train: Examples,
    validation: Examples,
    *,
    epochs: int = 3,
    batch_size: int = 32,
    rate: float = 2e-5,
    seed: int = 0,
) -> History:
    """Train a model; leave it in evaluation mode, with the weights that did best on the validation examples.

    All random numbers (order, masks, dropout) follow from `seed` and the number of the step. Training stops
    after the first epoch that does not lower the validation loss.

    Parameters
    ----------
    model : nn.Module
        `model(**batch)` returns an `Output`; only weights with `requires_grad` are trained. It stays on the
        device where it is; on a CUDA device the forward pass runs in half precision.
    train, validation : Examples
        From `masked_texts`, `labeled_pairs` or `matching_texts`.
    epochs : int
        At most this many passes over `train`.
    batch_size : int
        Texts per step.
    rate : float
        Learning rate after the warm-up; from there it falls in a straight line to 0.

    Raises
    ------
    FloatingPointError
        If the loss or the gradient is not finite: names the batch. The weights stay as they were before it.
    MemoryError
        If the memory is full, with what to do.

    References
    ----------
    Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization".
    """
    _check(train, validation, epochs, batch_size, rate)
    device = next(model.parameters()).device
    optimizer = _optimizer(model, rate)
    scaler = torch.amp.GradScaler(device.type, enabled=half_precision(device) is torch.float16)
    steps = epochs * -(-len(train.lengths) // batch_size)
    history, best, started = History(), {}, time.perf_counter()
    with fork_rng(device), ExitStack() as ending:
        model.train()  # dropout is on, and whatever happens off at the end
        ending.callback(model.eval)
        for epoch in range(epochs):
            batches = length_batches(train.lengths, batch_size, np.random.default_rng([seed, ORDER, epoch]))
            for number, rows in enumerate(batches):
                step = len(history.losses)
                for group in optimizer.param_groups:
                    group["lr"] = rate * rate_factor(step, steps, WARMUP)
                seed_torch(device, [seed, DROPOUT, step])
                batch = train.batch(rows, np.random.default_rng([seed, DRAWS, step]))
                where = f"epoch {epoch}, batch {number} (examples {', '.join(map(str, rows[:5]))}, …)"
                with memory_advice(batch):
                    loss = train_step(model, batch, optimizer, scaler, where)
                optimizer.zero_grad(set_to_none=True)
                _note_step(history, loss, batch)
            history.validation.append(mean_loss(model, validation, batch_size=batch_size, seed=seed))
            history.best_epoch = int(np.argmin(history.validation))
            if history.best_epoch == epoch:
                best = trained_weights(model)
            history.stopped_early = epoch - history.best_epoch >= PATIENCE and epoch + 1 < epochs
            if history.stopped_early:
                break
    model.load_state_dict(best, strict=False)
    history.seconds = time.perf_counter() - started
    return history


def mean_loss(model: nn.Module, examples: Examples, *, batch_size: int = 64, seed: int = 0) -> float:
    """Return the mean loss over all examples, masks and the like drawn from `seed` alone."""
    if len(examples.lengths) == 0:
        raise ValueError("there are no examples to take the mean loss of")
    device = next(model.parameters()).device
    losses, weights = [], []
    for number, rows in enumerate(length_batches(examples.lengths, batch_size)):
        batch = examples.batch(rows, np.random.default_rng([seed, VALIDATION, number]))
        losses.append(evaluate(model, to_device(batch, device)).loss)
        # A mean over batches would count guessed words of short batches for more than those of long ones.
        weights.append(int((batch["labels"] != IGNORED).sum()) if "labels" in batch else len(rows))
    # Read at the end, all together: a GPU need not stop after each batch.
    return float(np.average(torch.stack(losses).tolist(), weights=weights))


def predict(model: nn.Module, examples: Examples, *, batch_size: int = 64) -> np.ndarray:
    """Return the probability of label 1 for each example of a `PairClassifier`: float32, shape (n,)."""
    device = next(model.parameters()).device
    batches = length_batches(examples.lengths, batch_size)
    logits = [torch.empty(0, device=device)]
    for rows in batches:
        batch = examples.batch(rows, np.random.default_rng(0))
        batch.pop("labels", None)
        logits.append(evaluate(model, to_device(batch, device)).logits.float())
    return in_order(batches, torch.sigmoid(torch.cat(logits)).cpu().numpy())


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step: it rises in the warm-up, then falls to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(1, steps - rising)


def _optimizer(model: nn.Module, rate: float) -> torch.optim.AdamW:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise ValueError("no weight of the model has requires_grad: there is nothing to train")
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, fused=True)
    optimizer.zero_grad(set_to_none=True)  # a run that broke off may have left gradients behind
    return optimizer


def _note_step(history: History, loss: float, batch: Batch) -> None:
    history.losses.append(loss)
    masks = [mask for name, mask in batch.items() if name.endswith("attention_mask")]
    tokens = sum(int(mask.sum()) for mask in masks)
    history.tokens += tokens
    history.padded += sum(mask.numel() for mask in masks) - tokens


def _check(train: Examples, validation: Examples, epochs: int, batch_size: int, rate: float) -> None:
    for name, examples in (("train", train), ("validation", validation)):
        if len(examples.lengths) == 0:
            raise ValueError(f"{name} holds no examples")
    if min(epochs, batch_size) < 1 or rate <= 0:
        raise ValueError("epochs, batch_size and rate must be positive")
