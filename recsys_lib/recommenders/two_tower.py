"""Two towers: one turns a history into a vector, the other an item; their dot product is the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, issparse, vstack
from torch.nn.functional import embedding, normalize
from tqdm import tqdm

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import (
    check_histories,
    check_pair,
    contributions,
    native,
    similar_factors,
)
from recsys_lib.recommenders.shared.base import Array, Recommender, check_interactions, check_positive
from recsys_lib.recommenders.towers import (
    Features,
    Histories,
    Placed,
    Towers,
    asked_for,
    hide,
    histories_of,
    item_tower,
    placed,
    pooling_weights,
    sampled_softmax,
    user_tower,
)
from recsys_lib.scoring import TopK

_START = 0.03  # standard deviation of the first weights
_STEPS = 200  # of a fit, at least: small data needs more epochs


@dataclass(eq=False)
class TwoTower(Recommender):
    """Embed users and items such that users lie near the items they will have.

    The item tower gives item i the vector ``v_i = e_i + Σ_f x_if w_f`` and a bias b_i: an embedding of its
    own plus embeddings of its features, if there are any, so that an item nobody had yet has a place too. The
    user tower pools the items of the history, ``u = Σ_i w_ui v_i / (Σ_i w_ui)^¾``, and adds an embedding of
    the user if wanted; new users need nothing but a history. ``score(u, i) = u · v_i / temperature + b_i``.

    A step hides half of some users' histories and asks for it: softmax over the items that the step asks
    anybody for, each in proportion to how often it is asked for (in-batch negatives). That over-represents
    popular items, which is put right by subtracting log q_i, the log of that frequency, from their scores.

    Parameters
    ----------
    factors : int
        Width of the vectors.
    epochs : int
        Passes over the users; more where that makes fewer than 200 steps.
    learning_rate : float
        Of AdamW; falls to 0 in a straight line.
    weight_decay : float
        Of AdamW, ≥ 0; biases are left out.
    temperature : float
        What dot products are divided by.
    cosine : bool
        Scale both vectors to length 1 first; wants a temperature near 0.1.
    user_ids : bool
        Whether a user has an embedding besides the history.
    batch_users, positives : int
        Users per step, and hidden items drawn per user; batch_users · positives items compete.
    scheme, half_life
        How much an interaction counts in the history and as something to ask for, see `weighting.weigh`.
    seed : int
    progress : bool, optional
        Show a bar; by default on a terminal only.

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

    factors: int = 64
    epochs: int = 16
    learning_rate: float = 0.01
    weight_decay: float = 0.3
    temperature: float = 1.0
    cosine: bool = False
    user_ids: bool = False
    batch_users: int = 128
    positives: int = 16
    scheme: str = "binary"
    half_life: float | None = None
    seed: int = 0
    progress: bool | None = None

    _arrays: ClassVar[tuple[str, ...]] = (
        *(f"tower_{name}_" for name in Towers._fields),
        "features_", "history_", "newest_", "user_factors_", "item_factors_",
    )  # fmt: skip

    def __post_init__(self) -> None:
        names = "factors epochs learning_rate temperature batch_users positives".split()
        check_positive(**{name: getattr(self, name) for name in names})
        if not 0 <= self.weight_decay < np.inf:
            raise ValueError(f"weight_decay must be a number of at least 0, got {self.weight_decay!r}")
        history.check_weighting(self.scheme, self.half_life)

    @property
    def towers_(self) -> Towers:
        """All that was learnt."""
        return Towers(*(getattr(self, f"tower_{name}_") for name in Towers._fields))

    def fit(self, train: Interactions, features: Features | None = None) -> Self:
        """Learn from interactions, and from what is known about the items.

        Parameters
        ----------
        train : Interactions
            With non-negative, finite values. Items without interactions may be among its items: with
            features they are recommended where they fit.
        features : csr_array or np.ndarray, shape (n_items, n_features), optional
            Numbers that describe the items: indicators of categories, embeddings of texts.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            As every `fit`; if all weights are 0; and if the features are not one finite row per item.
        """
        return self._fit_or_restore(train, features=features)

    def partial_fit(self, new: Interactions, features: Features | None = None, epochs: int = 1) -> Self:
        """Add new interactions to the histories and go on training with the users who have them.

        Some other users take part: their items are what the new ones are told apart from.

        Parameters
        ----------
        new : Interactions
            New users and new items are appended.
        features : csr_array or np.ndarray, shape (len(new.items), n_features), optional
            Of the items of `new`; needed if the model has features and there are new items.
        epochs : int
            0 trains nothing: vectors of users follow from their new histories alone.

        Raises
        ------
        ValueError
            As `fit`; and if there is a half-life and `new` has no times or ends too early.
        """
        check_interactions(new)
        self._check_fitted()
        fresh = ~new.items.isin(self.items_)
        rows = _checked(features, new.n_items)[fresh]
        if rows.shape[1] != self.features_.shape[1] and fresh.any():
            raise ValueError(
                f"the model was fitted with {self.features_.shape[1]} features per item, "
                f"the new items have {rows.shape[1]}"
            )
        merged = history.take_in(self, new)
        if fresh.any():
            stack = vstack if issparse(self.features_) else np.vstack
            # `merge` appends new items in the order in which they stand in `new`.
            self.features_ = stack([self.features_, rows.astype(np.float32)])
        self._grow(merged)
        users = merged.user_positions(new.users)[np.diff(new.matrix.indptr) > 0]
        known = np.flatnonzero(np.diff(merged.matrix.indptr))
        others = np.random.default_rng(self.seed).choice(
            known, min(len(known), self.batch_users), replace=False
        )
        self._train(np.union1d(users, others), epochs)
        return self

    def fold_in(self, histories: csr_array) -> Array:
        """Score histories of users that the fit has not seen.

        Parameters
        ----------
        histories : csr_array, shape (n, n_items)
            Weighted as in `fit` (by default: 1 for each item a user has).

        Returns
        -------
        float32 array, shape (n, n_items)
        """
        histories = check_histories(self, histories)
        nobody = np.full(histories.shape[0], -1)
        return native(self._user_factors(histories, nobody)) @ native(self.item_factors_).T

    def explain(self, user: int, item: int, n: int | None = None) -> pd.DataFrame:
        """Split a score into what each item of the user's history adds to it.

        Returns
        -------
        pandas.DataFrame
            Columns `item` (position) and `contribution`, largest first; the row with item −1 holds what does
            not come from the history: the item's bias and the user's own embedding. Without `n` the rows add
            up to the score.
        """
        users, item = check_pair(self, user, item)
        own = history.read(self.history_[users], self.scheme)
        vectors, _ = item_tower(self.towers_, placed(self.features_, self._device()))
        parts = self.towers_.users[users] if self.user_ids else vectors.new_zeros((1, self.factors))
        parts = torch.cat(
            [vectors[own.indices] * torch.from_numpy(pooling_weights(own))[:, None].to(vectors.device), parts]
        )
        length = parts.sum(0).norm() if self.cosine else 1.0
        values = (parts @ self.item_factors_[item, :-1] / length).cpu().numpy()
        values[-1] += float(self.item_factors_[item, -1])
        return contributions("item", np.append(own.indices, -1), values, n)

    def similar(self, items: np.ndarray, k: int = 10) -> TopK:
        """List the items whose vectors point in the most similar direction, by cosine; not the items."""
        self._check_fitted()
        return similar_factors(self.item_factors_[:, :-1], items, k)

    def _fit(self, train: Interactions, features: Features | None = None) -> None:
        self.features_ = _checked(features, train.n_items)
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)
        generator = torch.Generator().manual_seed(self.seed)
        n_features, width = self.features_.shape[1], self.factors if self.user_ids else 0
        shapes = [(train.n_items, self.factors), (n_features, self.factors)]
        items, of_features = (_START * torch.randn(shape, generator=generator) for shape in shapes)
        frequency = asked_for(history.read(self.history_, self.scheme))
        if not frequency.any():
            raise ValueError("all values are 0: there is nothing to ask for")
        # An item nobody had is taken for one that is as rare as the rarest.
        bias = torch.from_numpy(np.log(np.maximum(frequency, frequency[frequency > 0].min())))[:, None]
        never = torch.from_numpy(frequency == 0)
        items[never] = 0  # such an item has nothing but its features
        parts = (
            items,
            bias.float(),
            of_features,
            torch.zeros(n_features, 1),
            torch.zeros(train.n_users, width),
        )
        self._keep(Towers(*(part.to(self._device()) for part in parts)))
        users = np.flatnonzero(np.diff(train.matrix.indptr))
        self._train(users, max(self.epochs, -(-_STEPS // self._steps(users))))

    def _grow(self, merged: Interactions) -> None:
        """Rows for appended users and items: zeros, and the bias of a rare item."""
        old, n_new = self.towers_, merged.n_items - len(self.tower_items_)
        rare = old.item_bias.min().expand(n_new, 1)
        items = torch.cat([old.items, old.items.new_zeros((n_new, self.factors))])
        users = old.users.new_zeros((merged.n_users - len(old.users), old.users.shape[1]))
        bias = torch.cat([old.item_bias, rare])
        self._keep(old._replace(items=items, item_bias=bias, users=torch.cat([old.users, users])))

    def _keep(self, towers: Towers) -> None:
        for name, part in towers._asdict().items():
            setattr(self, f"tower_{name}_", part.detach())

    def _train(self, users: np.ndarray, epochs: int) -> None:
        weights = history.read(self.history_, self.scheme)
        log_q = torch.from_numpy(np.log(np.maximum(asked_for(weights[users]), 1e-12)).astype(np.float32))
        log_q, features = log_q.to(self._device()), placed(self.features_, self._device())
        towers = Towers(*(part.clone().requires_grad_() for part in self.towers_))
        decayed = [towers.items, towers.features, towers.users]
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": [towers.item_bias, towers.feature_bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=self._device().type == "cpu")
        n_steps = max(1, epochs * self._steps(users))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)
        generator = np.random.default_rng(self.seed)
        hidden = None if self.progress is None else not self.progress
        for _ in tqdm(range(epochs), desc="TwoTower", disable=hidden):
            order = generator.permutation(users)
            for some in np.array_split(order, self._steps(users)):
                shown, asked = hide(weights[some], some, self.positives, generator, self._device())
                loss = self._loss(towers, features, shown, asked, log_q)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self._keep(towers)
        self.user_factors_ = self._user_factors(weights, np.arange(len(self.users_)))
        vectors, bias = item_tower(self.towers_, features)
        vectors = normalize(vectors, dim=1) if self.cosine else vectors
        self.item_factors_ = torch.cat([vectors / self.temperature, bias], dim=1)

    def _steps(self, users: np.ndarray) -> int:
        return -(-len(users) // self.batch_users)

    def _loss(
        self, towers: Towers, features: Placed, shown: Histories, asked: torch.Tensor, log_q: torch.Tensor
    ) -> torch.Tensor:
        vectors, bias = item_tower(towers, features)
        users, wanted = user_tower(towers, vectors, shown), embedding(asked, vectors)
        if self.cosine:
            users, wanted = normalize(users, dim=1), normalize(wanted, dim=1)
        return sampled_softmax(
            users @ wanted.T / self.temperature + embedding(asked, bias)[:, 0], log_q[asked]
        )

    def _user_factors(self, weights: csr_array, users: np.ndarray) -> torch.Tensor:
        vectors, _ = item_tower(self.towers_, placed(self.features_, self._device()))
        pooled = user_tower(self.towers_, vectors, histories_of(weights, users, self._device()))
        pooled = normalize(pooled, dim=1) if self.cosine else pooled
        return torch.cat([pooled, torch.ones_like(pooled[:, :1])], dim=1)

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        queries = self.user_factors_[torch.from_numpy(users).to(self.user_factors_.device)]
        return native(queries), native(self.item_factors_)


def _checked(features: Features | None, n_items: int) -> Features:
    if features is None:
        return csr_array((n_items, 0), dtype=np.float32)
    features = csr_array(features) if issparse(features) else np.asarray(features)
    if features.ndim != 2 or features.shape[0] != n_items:
        raise ValueError(
            f"features must have one row for each of {n_items} items, got shape {features.shape}"
        )
    if not np.isfinite(features.data if issparse(features) else features).all():
        raise ValueError("features hold NaN or infinite values")
    return features.astype(np.float32)
