"""A training loop to read from top to bottom: AdamW, warm-up, clipping, early stopping, resume."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from recsys_lib.text.batches import length_batches
from recsys_lib.text.checkpoint import Checkpoint, learning_state, set_learning_state
from recsys_lib.text.steps import (
    evaluate,
    half_precision,
    memory_advice,
    own_randomness,
    seed_step,
    to_device,
    train_step,
    training_mode,
)
from recsys_lib.text.tasks import IGNORED, Examples

ORDER, DRAWS, DROPOUT, VALIDATION = range(4)  # streams of random numbers, kept apart by these keys


@dataclass
class History:
    """What happened in training.

    Attributes
    ----------
    losses : list of float
        Of each step.
    validation : list of float
        Mean loss on the validation examples after each epoch.
    best_epoch : int
        From 0; the model ends with the weights it had after this epoch.
    seconds : float
        Time in training, validation included, interruptions not.
    tokens, padded : int
        Tokens trained on, and places of the batches that were padding.
    stopped_early : bool
    """

    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = -1
    seconds: float = 0.0
    tokens: int = 0
    padded: int = 0
    stopped_early: bool = False


def fit(
    model: nn.Module,
    train: Examples,
    validation: Examples,
    *,
    epochs: int = 3,
    batch_size: int = 32,
    rate: float = 2e-5,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    clip: float = 1.0,
    patience: int = 1,
    adversarial: float = 0.0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    log: str | Path | None = None,
    progress: bool = False,
) -> History:
    """Train a model; leave it in evaluation mode, with the weights that did best on the validation examples.

    All random numbers (order, masks, dropout) follow from `seed` and the number of the step. So none of them
    needs to be stored, and a run that was interrupted ends with the same bits as one that was not.

    Parameters
    ----------
    model : nn.Module
        `model(**batch)` returns an `Output`; only weights with `requires_grad` are trained. It stays on the
        device where it is; on a CUDA device the forward pass runs in half precision.
    train, validation : Examples
        From `masked_texts`, `labelled_pairs` or `matching_texts`.
    epochs : int
        At most this many passes over `train`.
    batch_size : int
        Texts per step.
    rate : float
        Learning rate after the warm-up; from there it falls in a straight line to 0.
    weight_decay : float
        On weight matrices only, not on biases and normalisation.
    warmup : float
        Share of all steps in which the rate rises from 0.
    clip : float
        Longest gradient; longer ones are shortened to it.
    patience : int
        Stop after this many epochs in a row without a better validation loss.
    adversarial : float
        If positive, every step also trains on the same batch with word vectors moved by this length in the
        direction that raises the loss most. Twice the time.
    seed : int
    checkpoint : str or Path, optional
        A folder. The state is stored there after every epoch; a later call with the same settings goes on.
    checkpoint_every : int, optional
        Store it after so many steps, too.
    log : str or Path, optional
        A folder for TensorBoard.
    progress : bool
        Show a progress bar.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If there are no examples or a setting makes no sense, or the checkpoint belongs to another run.
    FloatingPointError
        If the loss or the gradient is no number: names the batch. Weights and checkpoint stay as they were
        before it.
    MemoryError
        If the memory is full, with what to do.

    References
    ----------
    Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization".
    Miyato et al. (2017), "Adversarial Training Methods for Semi-Supervised Text Classification".
    """
    _check(train, validation, epochs, batch_size, rate, warmup, patience)
    run = dict(
        epochs=epochs, batch_size=batch_size, rate=rate, weight_decay=weight_decay, warmup=warmup, clip=clip,
        patience=patience, adversarial=adversarial, seed=seed,
    )  # fmt: skip
    device = next(model.parameters()).device
    optimizer = _optimizer(model, rate, weight_decay)
    optimizer.zero_grad(set_to_none=True)  # a run that broke off may have left gradients behind
    scaler = torch.amp.GradScaler(device.type, enabled=half_precision(device) is torch.float16)
    history, epoch, done, best = History(), 0, 0, None
    store = None if checkpoint is None else Checkpoint(checkpoint, model, run, train)
    if store is not None and (found := store.load(model, optimizer, scaler)) is not None:
        history, epoch, done, best = History(**found.history), found.epoch, found.batch, found.best
    per_epoch = -(-len(train.lengths) // batch_size)
    started = time.perf_counter() - history.seconds

    def save(epoch: int, batch: int) -> None:
        history.seconds = time.perf_counter() - started
        if store is not None:
            store.save(model, optimizer, scaler, asdict(history), epoch, batch, best)

    writer = _writer(log)
    bar = tqdm(total=epochs * per_epoch, initial=len(history.losses), unit="step", disable=not progress)
    with bar, own_randomness(device), training_mode(model):
        while epoch < epochs and not history.stopped_early:
            batches = length_batches(train.lengths, batch_size, np.random.default_rng([seed, ORDER, epoch]))
            for number, rows in enumerate(batches[done:], start=done):
                step = len(history.losses)
                for group in optimizer.param_groups:
                    group["lr"] = rate * rate_factor(step, epochs * per_epoch, warmup)
                seed_step(device, [seed, DROPOUT, step])
                batch = train.batch(rows, np.random.default_rng([seed, DRAWS, step]))
                where = f"epoch {epoch}, batch {number} (examples {', '.join(map(str, rows[:5]))}, …)"
                stored = store is not None and store.path.is_file()
                kept = f" The last good state is in {store.path}." if stored else ""
                with memory_advice(batch):
                    loss = train_step(model, batch, optimizer, scaler, clip, adversarial, where, kept)
                if hasattr(model, "update_and_allocate"):
                    model.update_and_allocate(step)  # AdaLoRA: spend ranks where they help most
                optimizer.zero_grad(set_to_none=True)
                history.losses.append(loss)
                _count(history, batch)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}")
                if writer is not None:
                    writer.add_scalar("loss/train", loss, step)
                if checkpoint_every and (number + 1) % checkpoint_every == 0 and number + 1 < len(batches):
                    save(epoch, number + 1)
            done = 0
            history.validation.append(mean_loss(model, validation, batch_size=batch_size, seed=seed))
            if writer is not None:
                writer.add_scalar("loss/validation", history.validation[-1], len(history.losses))
            history.best_epoch = int(np.argmin(history.validation))
            if history.best_epoch == epoch:
                best = learning_state(model)
            history.stopped_early = epoch - history.best_epoch >= patience and epoch + 1 < epochs
            epoch += 1
            save(epoch, 0)
    if writer is not None:
        writer.close()
    set_learning_state(model, best)
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
    found = np.empty(len(examples.lengths), np.float32)
    found[np.concatenate([np.empty(0, np.int64), *batches])] = torch.sigmoid(torch.cat(logits)).cpu().numpy()
    return found


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step: it rises in the warm-up, then falls to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(1, steps - rising)


def _optimizer(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise ValueError("no weight of the model has requires_grad: there is nothing to train")
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, fused=True)


def _count(history: History, batch: dict[str, torch.Tensor]) -> None:
    for name, mask in batch.items():
        if name.endswith("attention_mask"):
            real = int(mask.sum())
            history.tokens, history.padded = history.tokens + real, history.padded + mask.numel() - real


def _writer(folder: str | Path | None) -> object | None:
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("log=… needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(str(folder))


def _check(
    train: Examples,
    validation: Examples,
    epochs: int,
    batch_size: int,
    rate: float,
    warmup: float,
    patience: int,
) -> None:
    for name, examples in (("train", train), ("validation", validation)):
        if len(examples.lengths) == 0:
            raise ValueError(f"{name} holds no examples")
    if min(epochs, batch_size, patience) < 1 or rate <= 0 or not 0 <= warmup <= 1:
        raise ValueError("epochs, batch_size, patience and rate must be positive, warmup between 0 and 1")
