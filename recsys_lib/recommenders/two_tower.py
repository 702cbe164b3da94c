"""Two towers: one turns a history into a vector, the other an item; their dot product is the score."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn.functional import embedding, embedding_bag

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.answers import progress_bar, similar_factors
from recsys_lib.recommenders.shared.arrays import Array, as_native, rows_at
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, NotNegative, Positive, Seed
from recsys_lib.recommenders.shared.products import rows_of
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.scoring import TopK

_START = 0.03  # standard deviation of the first weights
_STEPS = 200  # of a fit, at least: small data needs more epochs
_HIDDEN = 0.5  # share of a history that a step hides, to ask for it
_LENGTH_POWER = 0.75  # 0 adds a history's vectors up, 1 averages them; chosen on validation


class Histories(NamedTuple):
    """Items of some users, row after row, as `embedding_bag` wants them."""

    items: torch.Tensor  # (n_entries,)
    starts: torch.Tensor  # (n_users,)
    weights: torch.Tensor  # (n_entries,)


@dataclass(kw_only=True, eq=False)
class TwoTower(Recommender):
    """Embed users and items such that users lie near the items they will have.

    The item tower gives item i an embedding v_i and a bias b_i. The user tower pools the items of the
    history, ``u = Σ_i w_ui v_i / (Σ_i w_ui)^¾``; new users need nothing but a history.
    ``score(u, i) = u · v_i + b_i``.

    A step hides half of some users' histories and asks for it: softmax over the items that the step asks
    anybody for, each in proportion to how often it is asked for (in-batch negatives). That over-represents
    popular items, which is put right by subtracting log q_i, the log of that frequency, from their scores.

    `explain` names the items of the history; item −1 stands for the item's bias. `similar` is the cosine of
    item vectors.

    Parameters
    ----------
    factors : int
        Width of the vectors.
    epochs : int
        Passes over the users; more where that makes fewer than 200 steps.
    learning_rate : float
        Step size of the optimizer AdamW; falls to 0 in a straight line.
    weight_decay : float
        Factor of AdamW's decay, ≥ 0; biases are left out.
    batch_users, positives : int
        Users per step, and hidden items drawn per user; batch_users · positives items compete.

    Attributes
    ----------
    user_factors_, item_factors_ : tensors, shape (n_users, factors + 1) and (n_items, factors + 1)
        ``score = user_factors_ @ item_factors_.T``; the last columns are ones and the items' biases.

    References
    ----------
    Yi et al. (2019), "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys.
    Kabbur, Ning & Karypis (2013), "FISM: Factored Item Similarity Models for Top-N Recommender Systems", KDD.
    """

    factors: Count = 64
    epochs: Count = 16
    learning_rate: Positive = 0.01
    weight_decay: NotNegative = 0.3
    batch_users: Count = 128
    positives: Count = 16
    weighting: Weighting = "binary"
    half_life: Positive | None = None
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = ("weights_", "user_factors_", "item_factors_")

    def _fit(self, train: Interactions) -> None:
        self.weights_ = weigh(train, self.weighting, self.half_life)
        generator = torch.Generator().manual_seed(self.seed)
        items = _START * torch.randn((train.n_items, self.factors), generator=generator)
        frequency = sampling_frequencies(self.weights_)
        # An item that nobody has gets the bias of the rarest seen one, and nothing else.
        bias = torch.from_numpy(np.log(np.maximum(frequency, frequency[frequency > 0].min())))[:, None]
        items[torch.from_numpy(frequency == 0)] = 0
        parts = [part.to(self._device()).requires_grad_() for part in (items, bias.float())]
        self._train(*parts)
        self.item_factors_ = torch.cat([part.detach() for part in parts], dim=1)
        self.user_factors_ = self._user_factors(self.weights_)

    def _train(self, items: torch.Tensor, bias: torch.Tensor) -> None:
        users = np.flatnonzero(np.diff(self.weights_.indptr))
        per_epoch = -(-len(users) // self.batch_users)
        epochs = max(self.epochs, -(-_STEPS // per_epoch))
        frequency = np.maximum(sampling_frequencies(self.weights_[users]), 1e-12)
        log_q = torch.from_numpy(np.log(frequency).astype(np.float32)).to(self._device())
        optimizer, schedule = self._optimizer(items, bias, epochs * per_epoch)
        generator = np.random.default_rng(self.seed)
        for _ in progress_bar(range(epochs), "TwoTower"):
            order = generator.permutation(users)
            for batch in np.array_split(order, per_epoch):
                histories = self.weights_[batch]
                shown, asked = mask_histories(histories, self.positives, generator, self._device())
                loss = self._loss(items, bias, shown, asked, log_q)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    def _optimizer(
        self, items: torch.Tensor, bias: torch.Tensor, n_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """AdamW whose learning rate falls to 0 in a straight line; biases do not decay."""
        groups = [
            {"params": [items], "weight_decay": self.weight_decay},
            {"params": [bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=self._device().type != "mps")
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)

    def _loss(
        self,
        items: torch.Tensor,
        bias: torch.Tensor,
        shown: Histories,
        asked: torch.Tensor,
        log_q: torch.Tensor,
    ) -> torch.Tensor:
        logits = user_tower(items, shown) @ embedding(asked, items).T + embedding(asked, bias)[:, 0]
        return sampled_softmax(logits, log_q[asked])

    def _user_factors(self, weights: csr_array) -> torch.Tensor:
        vectors = self.item_factors_[:, :-1].contiguous()
        pooled = user_tower(vectors, histories_of(weights, self._device()))
        return torch.cat([pooled, torch.ones_like(pooled[:, :1])], dim=1)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        return rows_at(self.user_factors_, users), as_native(self.item_factors_)

    def _fold_in(self, histories: csr_array) -> Array:
        return as_native(self._user_factors(histories)) @ as_native(self.item_factors_).T

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return similar_factors(self.item_factors_[:, :-1], items, k, themselves)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        own = self.weights_[users]
        vectors = self.item_factors_[:, :-1]
        parts = vectors[own.indices] * torch.from_numpy(pooling_weights(own))[:, None].to(vectors.device)
        values = (parts @ vectors[item]).cpu().numpy()
        bias = np.float32(self.item_factors_[item, -1].item())
        return {"item": np.append(own.indices, -1), "contribution": np.append(values, bias)}


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
    rows = rows_of(weights)
    return np.bincount(rows, weights.data, weights.shape[0]), rows
