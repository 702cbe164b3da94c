"""What the two towers are made of: pooled histories, and a softmax over drawn items."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn.functional import embedding_bag

_HIDDEN = 0.5  # share of a history that a step hides, to ask for it
_LENGTH_POWER = 0.75  # 0 adds a history's vectors up, 1 averages them; chosen on validation


class Histories(NamedTuple):
    """Items of some users, row after row, as `embedding_bag` wants them."""

    items: torch.Tensor  # (n_entries,)
    starts: torch.Tensor  # (n_users,)
    weights: torch.Tensor  # (n_entries,)


def user_tower(vectors: torch.Tensor, shown: Histories) -> torch.Tensor:
    """Add up the vectors of users' items by weight, shape (n_users, factors)."""
    return embedding_bag(shown.items, vectors, shown.starts, mode="sum", per_sample_weights=shown.weights)


def sampled_softmax(logits: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Estimate the loss of a softmax over all items from items drawn with known frequencies.

    With n candidates, drawn with frequency q_j, ``Σ_j e^{s_j} / (n q_j)`` estimates the sum over all items;
    that is, log q_j is subtracted from the score. Without it, popular items, drawn more often, would be
    pushed down more often. The candidates are in-batch: what the other rows ask for.

    Of scores s, shape (n_users, n_users · positives), the first `positives` columns are what the first row
    asks for, and so on; `log_q` has one entry per column. The mean of −log softmax over all (user, positive)
    pairs, up to a constant.

    References
    ----------
    Bengio & Senécal (2008), "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
    Language Model". Yi et al. (2019), equation 4.
    """
    n_users = len(logits)
    own = logits.view(n_users, n_users, -1).diagonal(dim1=0, dim2=1)  # (positives, n_users)
    return torch.logsumexp(logits - log_q, dim=1).mean() - own.mean()


def mask_histories(
    weights: csr_array, positives: int, generator: np.random.Generator, device: torch.device
) -> tuple[Histories, torch.Tensor]:
    """Hide half of each history, at random, and draw from the hidden half by weight, with replacement.

    Of histories, none of them empty, return what is still shown (a history of one item is empty then), and
    the items drawn, `positives` for each user, user after user: int64, shape (n · positives,).
    """
    counts, last = np.diff(weights.indptr), weights.indptr[1:] - 1
    hidden = generator.random(weights.nnz) < _HIDDEN
    hidden[weights.indptr[:-1] + (generator.random(len(counts)) * counts).astype(np.int64)] = True
    mass = np.cumsum(np.where(hidden, weights.data, 0), dtype=np.float64)
    edges = np.concatenate([[0], mass[last]])
    draws = edges[:-1, None] + generator.random((len(counts), positives)) * np.diff(edges)[:, None]
    drawn = np.minimum(np.searchsorted(mass, draws, side="right"), last[:, None])
    asked = torch.from_numpy(weights.indices[drawn.ravel()].astype(np.int64))
    starts = np.concatenate([[0], np.cumsum(~hidden)])[weights.indptr]
    shown = csr_array((weights.data[~hidden], weights.indices[~hidden], starts), shape=weights.shape)
    return histories_of(shown, device), asked.to(device)


def histories_of(weights: csr_array, device: torch.device) -> Histories:
    """Put histories on a device, their weights scaled for pooling."""
    items, starts = weights.indices.astype(np.int64), weights.indptr[:-1].astype(np.int64)
    parts = items, starts, pooling_weights(weights)
    return Histories(*(torch.from_numpy(part).to(device) for part in parts))


def pooling_weights(weights: csr_array) -> np.ndarray:
    """Divide each weight by ``(Σ_i w_ui)^¾``: between a sum, which grows with the history, and a mean."""
    totals, rows = _totals(weights)
    return (weights.data / np.maximum(totals, 1e-12)[rows] ** _LENGTH_POWER).astype(np.float32)


def sampling_frequencies(weights: csr_array) -> np.ndarray:
    """Say how often `mask_histories` draws each item if it asks all users equally often; adds up to 1."""
    totals, rows = _totals(weights)
    shares = weights.data / np.maximum(totals, 1e-12)[rows]
    return np.bincount(weights.indices, shares, weights.shape[1]) / max(1, np.count_nonzero(totals))


def _totals(weights: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Sum of each row, and the row of each entry."""
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    return np.bincount(rows, weights.data, weights.shape[0]), rows
