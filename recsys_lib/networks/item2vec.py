"""Item vectors from baskets: skip-gram with negative sampling, its gradients written out, on CPU or GPU."""

from typing import NamedTuple

import numpy as np
import torch

from recsys_lib.scoring.workers import single_threaded

NEGATIVES = 5  # random items that each pair is weighed against
NOISE_POWER = 0.75  # negatives are drawn by count^0.75, as in word2vec: rare items a little more often
SHARED_NEGATIVES = 64  # drawn once per batch and weighted: one matrix product instead of many small ones
LOSS_EVERY = 8  # batches between two looks at the loss: its logarithms cost a fifth of a step


class ItemVectors(NamedTuple):
    """`item` and `context` vectors, both (n_items, width), float32; the mean loss of each epoch.

    The loss is the mean over every eighth batch, beginning with the first.
    """

    item: np.ndarray
    context: np.ndarray
    losses: list[float]


class _Lines(NamedTuple):
    """Purchase lines sorted by basket: the item, where its basket begins, how many lines that has."""

    item: torch.Tensor
    first: torch.Tensor
    size: torch.Tensor


def item2vec(  # noqa: PLR0913 - the settings go by name
    baskets: np.ndarray,
    items: np.ndarray,
    n_items: int,
    *,
    width: int = 32,
    epochs: int = 10,
    batch_size: int = 512,
    rate: float = 0.15,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> ItemVectors:
    """Learn vectors such that items of one basket have large dot products, random pairs small ones.

    Per epoch every line meets one other line of its basket, drawn at random; lines alone in their basket
    are left out. Plain gradient descent; the rate falls in a straight line to zero. On a CPU the work is done
    by one thread, since the steps are too small to share, and the same seed gives the same vectors.

    Parameters
    ----------
    baskets, items : array of int, shape (n_lines,)
        The basket and the item of each purchase line; items from 0 to `n_items` - 1.
    width : int
        Numbers per vector.
    batch_size : int
        Pairs per step. A step adds up the gradients of its pairs, so a larger one needs a smaller `rate`.
    rate : float
        Learning rate of the first step.

    Returns
    -------
    ItemVectors
        Items bought in the same company have similar `item + context`.

    References
    ----------
    Mikolov et al. (2013), "Distributed Representations of Words and Phrases and their Compositionality".
    Barkan & Koenigstein (2016), "Item2Vec: Neural Item Embedding for Collaborative Filtering".
    """
    baskets, items = np.asarray(baskets), np.asarray(items)
    if baskets.shape != items.shape or items.ndim != 1 or items.dtype.kind not in "iu":
        found = f"baskets {baskets.shape} and items {items.shape} of {items.dtype}"
        raise ValueError(f"{found} must be one number per line, of items a whole one")
    if len(items) and not 0 <= items.min() <= items.max() < n_items:
        raise ValueError(f"items must lie in 0..{n_items - 1}, got {items.min()}..{items.max()}")
    if min(width, epochs, batch_size) < 1 or rate <= 0:
        raise ValueError("width, epochs, batch_size and rate must be positive")
    lines = _lines_of_shared_baskets(baskets, items, device)
    generator = torch.Generator(device).manual_seed(seed)
    with single_threaded():
        noise = torch.bincount(lines.item, minlength=n_items).to(torch.float32) ** NOISE_POWER
        start = 0.1 * (torch.rand(2, n_items, width, generator=generator, device=device) - 0.5)
        vectors, contexts = start
        steps = -(-len(lines.item) // batch_size)  # of one epoch
        rates = [rate * (1 - step / (epochs * steps)) for step in range(epochs * steps)]
        losses = [
            _epoch(vectors, contexts, lines, noise, rates[epoch * steps :], batch_size, generator)
            for epoch in range(epochs)
        ]
    return ItemVectors(vectors.cpu().numpy(), contexts.cpu().numpy(), losses)


def _epoch(
    vectors: torch.Tensor, contexts: torch.Tensor, lines: _Lines, noise: torch.Tensor,
    rates: list[float], batch_size: int, generator: torch.Generator,
) -> float:  # fmt: skip
    """Take one step per batch of pairs, changing both tables in place; return the mean loss."""
    device = vectors.device
    partner = lines.item[partners(lines.first, lines.size, generator)]
    batches = torch.randperm(len(partner), generator=generator, device=device).split(batch_size)
    # All draws of an epoch at once: each call adds up the noise of all items first.
    count = SHARED_NEGATIVES * len(batches)
    draws = torch.multinomial(noise, count, replacement=True, generator=generator).split(SHARED_NEGATIVES)
    total, pairs = torch.zeros((), device=device), 0
    take = torch.index_select  # on a host four times faster than indexing
    for number, (rows, drawn) in enumerate(zip(batches, draws, strict=True)):
        i, j = take(lines.item, 0, rows), take(partner, 0, rows)
        looked = number % LOSS_EVERY == 0
        loss, dv, dc, dc_drawn = skip_gram_gradients(
            take(vectors, 0, i), take(contexts, 0, j), take(contexts, 0, drawn), NEGATIVES, with_loss=looked
        )
        # An item can stand in several pairs of a batch: index_add_ adds up all its gradients, while
        # vectors[i] -= … would keep only one of them.
        # Scaled before, since index_add_ with a factor of its own takes three times as long on a host.
        vectors.index_add_(0, i, dv.mul_(-rates[number]))
        contexts.index_add_(0, j, dc.mul_(-rates[number]))
        contexts.index_add_(0, drawn, dc_drawn.mul_(-rates[number]))
        if looked:
            total, pairs = total + loss, pairs + len(rows)
    return total.item() / pairs


def skip_gram_gradients(
    v: torch.Tensor, c: torch.Tensor, c_drawn: torch.Tensor, negatives: float, *, with_loss: bool = True
) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return L = Σ over pairs of −log σ(v·c) − negatives · mean over c′ of log σ(−v·c′), and its gradients.

    Parameters
    ----------
    v, c : tensor, shape (n, width)
        The item's vector, and the context vector of its partner, pair by pair.
    c_drawn : tensor, shape (m, width)
        Context vectors c′ of random items, shared by all pairs.
    negatives : float
        Their weight.
    with_loss : bool
        Without it the loss is None; training needs only the gradients, by v, c and c′.
    """
    score = (v * c).sum(dim=1)
    # Each term is a cross-entropy behind a sigmoid. Its derivative by the score is prediction minus truth,
    # and the truth is 1 for the pair: σ(v·c) − 1 is near 0 once the model believes in it.
    delta = (torch.sigmoid(score) - 1)[:, None]
    # For a random item the truth is 0: what remains is σ(v·c′).
    delta_drawn = (v @ c_drawn.T).sigmoid_()
    weight = negatives / len(c_drawn)
    loss = None
    if with_loss:
        # log σ(−s) = log(1 − σ(s)); the clamp keeps it finite where σ has rounded to 1.
        log_drawn = torch.log1p(-delta_drawn.clamp(max=1 - 1e-6)).sum()
        loss = torch.nn.functional.softplus(-score).sum() - weight * log_drawn
    delta_drawn *= weight
    # A dot product's derivative by one vector is the other vector. Each v meets its partner and every
    # random item; each c meets one v; each c′ meets all of them, hence the product over rows.
    return loss, delta * c + delta_drawn @ c_drawn, delta * v, delta_drawn.T @ v


def partners(first: torch.Tensor, size: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw for each line the position of another line of its basket, all others equally likely.

    Lines are sorted by basket; `first` and `size`, shape (n_lines,), are where the line's basket begins, and
    how many lines it has, at least 2.
    """
    steps = torch.rand(len(size), generator=generator, device=size.device, dtype=torch.float32)
    # Go round the basket by 1 to size − 1 places: never back to the line itself.
    ahead = 1 + torch.minimum((steps * (size - 1)).long(), size - 2)
    place = torch.arange(len(size), device=size.device) - first
    return first + (place + ahead) % size


def _lines_of_shared_baskets(baskets: np.ndarray, items: np.ndarray, device: str | torch.device) -> _Lines:
    order = np.argsort(baskets, kind="stable")
    _, size = np.unique(baskets, return_counts=True)
    item = items[order][np.repeat(size, size) > 1]
    size = size[size > 1]
    if len(item) == 0:
        raise ValueError("no basket holds two lines: there are no pairs to learn from")
    first, size = np.repeat(np.cumsum(size) - size, size), np.repeat(size, size)
    return _Lines(*(torch.as_tensor(array.astype(np.int64), device=device) for array in (item, first, size)))
