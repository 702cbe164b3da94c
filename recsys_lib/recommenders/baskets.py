"""The field's baselines for the next basket: TIFU-KNN and UP-CF@r, from what lay in a user's baskets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import coo_array, csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import check_count, check_not_negative, check_positive
from recsys_lib.recommenders.shared.products import sparse_product

_BLOCK = 512  # users whose distances to all exist at the same time


class _Baskets(Recommender):
    """A user's own vector over items, mixed with those of other users: ``mix_ @ vectors_``."""

    _stored: ClassVar[tuple[str, ...]] = ("vectors_", "mix_")
    _cannot: ClassVar[dict[str, str]] = {"similar": "it compares users, not items"}

    def _score(self, users: np.ndarray) -> np.ndarray:
        return sparse_product(self.mix_[users], self.vectors_)


@dataclass(kw_only=True, eq=False)
class TIFUKNN(_Baskets):
    """A user's fading counts of baskets, mixed with those of the nearest users.

    A user's baskets (all events of one moment) form groups of `group`, the newest group full. In a group, a
    basket counts ``basket_decay`` to the power of the baskets after it, divided by the group's size; a group
    counts ``group_decay`` to the power of the groups after it, divided by their number. With these vectors p,
    ``score(u) = own · p_u + (1 − own) · mean of p_v`` over the `neighbors` nearest users v, by distance.

    Parameters
    ----------
    neighbors, group : int
    basket_decay, group_decay : float
        From above 0 to 1, which is no decay.
    own : float
        From 0 to 1.

    References
    ----------
    Hu, He, Gao & Zhang (2020), "Modeling Personalized Item Frequency Information for Next-basket
    Recommendation", SIGIR.
    """

    neighbors: int = 300
    group: int = 7
    basket_decay: float = 0.9
    group_decay: float = 0.7
    own: float = 0.7

    def __post_init__(self) -> None:
        check_count(neighbors=self.neighbors, group=self.group)
        _check_shares(basket_decay=self.basket_decay, group_decay=self.group_decay, own=self.own)

    def _fit(self, train: Interactions) -> None:
        users, items, after, total = _baskets(train)
        groups = -(-total // self.group)
        oldest = after // self.group == groups - 1
        size = np.where(oldest, total - (groups - 1) * self.group, self.group)
        fading = self.basket_decay ** (after % self.group) * self.group_decay ** (after // self.group)
        self.vectors_ = _sum_up(fading / size / groups, users, items, train)
        blocks = np.array_split(np.arange(train.n_users), -(-train.n_users // _BLOCK))
        near = np.concatenate([self._nearest(block) for block in blocks])
        rows = np.repeat(np.arange(train.n_users), near.shape[1] + 1)
        columns = np.c_[np.arange(train.n_users), near].ravel()
        shares = np.full((train.n_users, near.shape[1] + 1), (1 - self.own) / near.shape[1])
        shares[:, 0] = self.own
        self.mix_ = coo_array((shares.ravel(), (rows, columns))).tocsr().astype(np.float32)

    def _nearest(self, block: np.ndarray) -> np.ndarray:
        """Positions of the nearest other users, shape (len(block), at most neighbors)."""
        squares = self.vectors_.multiply(self.vectors_).sum(axis=1)
        far = squares - 2 * (self.vectors_[block] @ self.vectors_.T).toarray()
        far[np.arange(len(block)), block] = np.inf
        return np.argsort(far, axis=1, kind="stable")[:, : min(self.neighbors, max(1, len(squares) - 1))]


@dataclass(kw_only=True, eq=False)
class UPCF(_Baskets):
    """UP-CF@r: how often items were in the last baskets of users, summed over users by likeness.

    ``p_u(i)`` is the share of u's last `recent` baskets (all events of one moment) that hold i, and
    ``score(u) = Σ_v w_uv^locality p_v``, ``w_uv = p_u · p_v / (|p_u|^(2 asymmetry) |p_v|^(2 − 2 asymmetry))``.
    The user is in the sum, with weight 1.

    Parameters
    ----------
    recent : int
    locality : float
        Above 0; the larger, the more the most alike users count.
    asymmetry : float
        From 0 to 1.

    References
    ----------
    Faggioli, Polato & Aiolli (2020), "Recency Aware Collaborative Filtering for Next Basket Recommendation",
    UMAP.
    """

    recent: int = 25
    locality: float = 5.0
    asymmetry: float = 0.5

    def __post_init__(self) -> None:
        check_count(recent=self.recent)
        check_positive(locality=self.locality)
        _check_shares(asymmetry=self.asymmetry)

    def _fit(self, train: Interactions) -> None:
        users, items, after, total = _baskets(train)
        shares = (after < self.recent) / np.minimum(total, self.recent)
        self.vectors_ = _sum_up(shares, users, items, train)
        alike = (self.vectors_ @ self.vectors_.T).tocoo()
        squares = np.maximum(self.vectors_.multiply(self.vectors_).sum(axis=1), 1e-12)
        lengths = squares[alike.row] ** self.asymmetry * squares[alike.col] ** (1 - self.asymmetry)
        weights = (alike.data / lengths) ** self.locality
        self.mix_ = csr_array((weights.astype(np.float32), (alike.row, alike.col)), shape=alike.shape)


def _baskets(train: Interactions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Users and items of what lay in baskets, how many baskets of the user came after, how many it has."""
    if train.events is None:
        raise ValueError("baskets need the times of events: build Interactions with time=…")
    events = train.events[["user", "item", "time"]].drop_duplicates()
    place = events.groupby("user")["time"].rank(method="dense").to_numpy().astype(np.int64)
    users, items = (events[name].to_numpy(np.int64) for name in ("user", "item"))
    total = np.zeros(train.n_users, np.int64)
    np.maximum.at(total, users, place)
    return users, items, total[users] - place, total[users]


def _sum_up(weights: np.ndarray, users: np.ndarray, items: np.ndarray, train: Interactions) -> csr_array:
    summed = coo_array((weights, (users, items)), shape=train.matrix.shape).tocsr().astype(np.float32)
    summed.eliminate_zeros()
    return summed


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        check_not_negative(**{name: share})
        if share > 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {share!r}")
