"""Two towers: one turns a history into a vector, the other an item; their dot product is the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn.functional import embedding

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.answers import progress_bar, similar_factors
from recsys_lib.recommenders.shared.arrays import Array, as_native, rows_at
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, NotNegative, Positive, Seed
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.recommenders.towers import (
    DeviceFeatures,
    Features,
    Histories,
    Towers,
    features_on,
    histories_of,
    item_tower,
    mask_histories,
    pooling_weights,
    sampled_softmax,
    sampling_frequencies,
    user_tower,
)
from recsys_lib.scoring import TopK

_START = 0.03  # standard deviation of the first weights
_STEPS = 200  # of a fit, at least: small data needs more epochs


@dataclass(kw_only=True, eq=False)
class TwoTower(Recommender):
    """Embed users and items such that users lie near the items they will have.

    The item tower gives item i the vector ``v_i = e_i + Σ_f x_if w_f`` and a bias b_i: an embedding of its
    own plus embeddings of its features, if there are any, so that an item without interactions has a place
    too. The user tower pools the items of the history, ``u = Σ_i w_ui v_i / (Σ_i w_ui)^¾``; new users need
    nothing but a history. ``score(u, i) = u · v_i + b_i``.

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
    weighting, half_life
        How much an interaction counts in the history and as something to ask for, see `weighting.weigh`.
    seed : int

    Attributes
    ----------
    towers_ : Towers
    user_factors_, item_factors_ : tensors, shape (n_users, factors + 1) and (n_items, factors + 1)
        What the towers make of train: ``score = user_factors_ @ item_factors_.T``.

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

    _stored: ClassVar[tuple[str, ...]] = (
        "towers_", "features_", "weights_", "user_factors_", "item_factors_",
    )  # fmt: skip
    _tuples: ClassVar[dict[str, type]] = {"towers_": Towers}
    _takes_features: ClassVar[bool] = True

    def _fit(self, train: Interactions, item_features: Features | None = None) -> None:
        self.features_ = item_features
        if item_features is None:
            self.features_ = csr_array((train.n_items, 0), dtype=np.float32)
        self.weights_ = weigh(train, self.weighting, self.half_life)
        generator = torch.Generator().manual_seed(self.seed)
        n_features = self.features_.shape[1]
        shapes = [(train.n_items, self.factors), (n_features, self.factors)]
        items, of_features = (_START * torch.randn(shape, generator=generator) for shape in shapes)
        frequency = sampling_frequencies(self.weights_)
        # Unseen items get the bias of the rarest seen item, and have nothing else but their features.
        bias = torch.from_numpy(np.log(np.maximum(frequency, frequency[frequency > 0].min())))[:, None]
        items[torch.from_numpy(frequency == 0)] = 0
        parts = items, bias.float(), of_features, torch.zeros(n_features, 1)
        self._train(Towers(*(part.to(self._device()) for part in parts)))

    def _train(self, start: Towers) -> None:
        users = np.flatnonzero(np.diff(self.weights_.indptr))
        per_epoch = -(-len(users) // self.batch_users)
        epochs = max(self.epochs, -(-_STEPS // per_epoch))
        frequency = np.maximum(sampling_frequencies(self.weights_[users]), 1e-12)
        log_q = torch.from_numpy(np.log(frequency).astype(np.float32)).to(self._device())
        features = features_on(self.features_, self._device())
        towers = Towers(*(part.clone().requires_grad_() for part in start))
        optimizer, schedule = self._optimizer(towers, epochs * per_epoch)
        generator = np.random.default_rng(self.seed)
        for _ in progress_bar(range(epochs), "TwoTower"):
            order = generator.permutation(users)
            for batch in np.array_split(order, per_epoch):
                histories = self.weights_[batch]
                shown, asked = mask_histories(histories, self.positives, generator, self._device())
                loss = self._loss(towers, features, shown, asked, log_q)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self.towers_ = Towers(*(part.detach() for part in towers))
        self.user_factors_ = self._user_factors(self.weights_)
        self.item_factors_ = torch.cat(item_tower(self.towers_, features), dim=1)

    def _optimizer(
        self, towers: Towers, n_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """AdamW whose learning rate falls to 0 in a straight line; biases do not decay."""
        groups = [
            {"params": [towers.items, towers.features], "weight_decay": self.weight_decay},
            {"params": [towers.item_bias, towers.feature_bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=self._device().type != "mps")
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)

    def _loss(
        self,
        towers: Towers,
        features: DeviceFeatures,
        shown: Histories,
        asked: torch.Tensor,
        log_q: torch.Tensor,
    ) -> torch.Tensor:
        vectors, bias = item_tower(towers, features)
        logits = user_tower(vectors, shown) @ embedding(asked, vectors).T + embedding(asked, bias)[:, 0]
        return sampled_softmax(logits, log_q[asked])

    def _user_factors(self, weights: csr_array) -> torch.Tensor:
        vectors, _ = item_tower(self.towers_, features_on(self.features_, self._device()))
        pooled = user_tower(vectors, histories_of(weights, self._device()))
        return torch.cat([pooled, torch.ones_like(pooled[:, :1])], dim=1)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        return rows_at(self.user_factors_, users), as_native(self.item_factors_)

    def _fold_in(self, histories: csr_array) -> Array:
        weights = history.value_weights(histories, self.weighting, self.half_life)
        return as_native(self._user_factors(weights)) @ as_native(self.item_factors_).T

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return similar_factors(self.item_factors_[:, :-1], items, k, themselves)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        own = self.weights_[users]
        vectors, _ = item_tower(self.towers_, features_on(self.features_, self._device()))
        parts = vectors[own.indices] * torch.from_numpy(pooling_weights(own))[:, None].to(vectors.device)
        values = (parts @ self.item_factors_[item, :-1]).cpu().numpy()
        bias = np.float32(self.item_factors_[item, -1].item())
        return {"item": np.append(own.indices, -1), "contribution": np.append(values, bias)}
