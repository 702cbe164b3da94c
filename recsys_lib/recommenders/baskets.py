"""The field's baselines for the next basket: TIFU-KNN and UP-CF, from what lay in the baskets of users."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import coo_array, eye_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, Positive, Share, timed_events
from recsys_lib.recommenders.shared.products import sparse_product, squared_lengths, transposed_product
from recsys_lib.scoring import top_k_blocks


@dataclass(kw_only=True, eq=False)
class TIFUKNN(Recommender):
    """A user's fading counts of baskets, mixed with those of the nearest users.

    A user's baskets (all events of one moment) form groups of `group`, the newest group full. In a group, a
    basket counts ``basket_decay`` to the power of the baskets after it, divided by the group's size; a group
    counts ``group_decay`` to the power of the groups after it, divided by their number. With these vectors p,
    ``score(u) = own · p_u + (1 − own) · mean of p_v`` over the `neighbors` nearest users v, by distance.

    Parameters
    ----------
    basket_decay, group_decay : float
        From 0, which lets the newest count alone, to 1, which is no decay.
    own : float
        From 0 to 1.

    References
    ----------
    Hu, He, Gao & Zhang (2020), "Modeling Personalized Item Frequency Information for Next-basket
    Recommendation", SIGIR.
    """

    neighbors: Count = 300
    group: Count = 7
    basket_decay: Share = 0.9
    group_decay: Share = 0.7
    own: Share = 0.7

    _stored: ClassVar[tuple[str, ...]] = ("vectors_", "mix_")
    _cannot: ClassVar[dict[str, str]] = {"similar": "it compares users, not items"}

    def _fit(self, train: Interactions) -> None:
        users, items, after, total = _baskets(train)
        groups = -(-total // self.group)
        oldest = after // self.group == groups - 1
        size = np.where(oldest, total - (groups - 1) * self.group, self.group)
        fading = self.basket_decay ** (after % self.group) * self.group_decay ** (after // self.group)
        weights = fading / size / groups
        self.vectors_ = (
            coo_array((weights, (users, items)), shape=train.matrix.shape).tocsr().astype(np.float32)
        )
        near = self._nearest() if self.own < 1 else np.arange(train.n_users)[:, None]  # nobody is mixed in
        rows = np.repeat(np.arange(train.n_users), near.shape[1] + 1)
        columns = np.c_[np.arange(train.n_users), near].ravel()
        shares = np.full((train.n_users, near.shape[1] + 1), (1 - self.own) / near.shape[1])
        shares[:, 0] = self.own
        self.mix_ = coo_array((shares.ravel(), (rows, columns))).tocsr().astype(np.float32)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return sparse_product(self.mix_[users], self.vectors_)

    def _nearest(self) -> np.ndarray:
        """Positions of the nearest other users, shape (n_users, at most neighbors)."""
        n, others, squares = self.vectors_.shape[0], self.vectors_.T.tocsr(), squared_lengths(self.vectors_)
        near = top_k_blocks(
            lambda some: 2 * sparse_product(self.vectors_[some], others) - squares,  # a low distance is high
            n,
            n,
            min(self.neighbors, max(1, n - 1)),
            exclude=eye_array(n, format="csr"),
        )
        return np.maximum(near.ids, 0)  # who is alone is mixed with itself


@dataclass(kw_only=True, eq=False)
class UPCF(Recommender):
    """What a user's newest baskets hold, and those of users alike.

    With p_u the share of the newest `recent` baskets of u that hold each item (UP-CF@r; r = `recent`), and
    ``similarity(u, v) = p_u · p_v / (|p_u|^(2 alpha) |p_v|^(2 − 2 alpha))``, the scores of u are
    ``Σ_v similarity(u, v)^locality · p_v``, u included: a high `locality` leaves little weight to users
    less alike.

    Parameters
    ----------
    alpha : float
        From 0 to 1.

    References
    ----------
    Faggioli, Polato & Aiolli (2020), "Recency Aware Collaborative Filtering for Next Basket Recommendation",
    UMAP.
    """

    recent: Count = 25
    alpha: Share = 0.5
    locality: Positive = 5.0

    _stored: ClassVar[tuple[str, ...]] = ("vectors_",)
    _cannot: ClassVar[dict[str, str]] = {"similar": "it compares users, not items"}

    def _fit(self, train: Interactions) -> None:
        users, items, after, total = _baskets(train)
        kept = after < self.recent
        weights = (1 / np.minimum(total, self.recent)[kept], (users[kept], items[kept]))
        self.vectors_ = coo_array(weights, shape=train.matrix.shape).tocsr().astype(np.float32)

    def _score(self, users: np.ndarray) -> np.ndarray:
        items = self.vectors_.T.tocsr()
        # Powers in double precision: those of single precision differ between processors, and ties with them.
        squares = np.maximum(squared_lengths(self.vectors_), 1e-12).astype(np.float64)
        near = sparse_product(self.vectors_[users], items) / squares ** (1 - self.alpha)
        near = (near / squares[users, None] ** self.alpha) ** self.locality
        return transposed_product(near.astype(np.float32), items)


def _baskets(train: Interactions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Users and items of what lay in baskets, how many baskets of the user came after, how many it has."""
    events = timed_events(train, "baskets need")[["user", "item", "time"]].drop_duplicates()
    place = events.groupby("user")["time"].rank(method="dense").to_numpy().astype(np.int64)
    users, items = (events[name].to_numpy(np.int64) for name in ("user", "item"))
    total = np.zeros(train.n_users, np.int64)
    np.maximum.at(total, users, place)
    return users, items, total[users] - place, total[users]
