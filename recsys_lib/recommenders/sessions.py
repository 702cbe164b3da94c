"""EASE and time: what was handled in one sitting, and what is taken more of late."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.shared.arrays import Array, as_native
from recsys_lib.recommenders.shared.checks import NotNegative, Positive, Share, timed_events
from recsys_lib.recommenders.shared.products import gram, item_weights, user_counts
from recsys_lib.recommenders.shared.weighting import SECONDS_PER_DAY, Weighting, recent_users, seconds, weigh

_FAR = 40.0  # scales: a pair on both sides of such a pause would add e⁻⁴⁰, less than a sum in float64 keeps


@dataclass(kw_only=True, eq=False)
class SessionEASE(EASE):
    """EASE in which two items of a user count as a pair the more, the closer in time they were handled.

    EASE learns B from the Gram matrix ``G_ij = Σ_u x_ui x_uj``. Here

    ``G_ij = Σ_u x_ui x_uj · ((1 − share) + share · exp(−|t_ui − t_uj| / scale))``.

    Items that users handle one after the other, a page of a catalogue or a series of films, belong together
    more than two items of a year. The factor is a kernel over time, so the matrix stays positive
    semidefinite. Scores are ``x_u B`` as before: when the wanted item will be handled is not known. Features
    of items are not taken.

    Parameters
    ----------
    share : float
        From 0, which is EASE, to 1.
    scale : float
        In seconds: at this distance a pair's closeness has fallen to 1/e.

    Notes
    -----
    Inverts a matrix of n_items × n_items, whatever the number of users: for some thousand items.
    """

    regularization: Positive = 200.0
    share: Share = 0.5
    scale: Positive = 300.0
    weighting: Weighting = "binary"

    _stored: ClassVar[tuple[str, ...]] = ("history_", "weights_")
    _takes_features: ClassVar[bool] = False

    def _fit(self, train: Interactions) -> None:
        timed_events(train, "sessions need")
        self.history_ = weigh(train, self.weighting, self.half_life)
        together = gram(self.history_.T.tocsr())
        together *= 1 - self.share
        together += self.share * close_pairs(train, self.history_, self.scale)
        self.weights_ = item_weights(together, self.regularization, self._device())


@dataclass(kw_only=True, eq=False)
class TrendEASE(EASE):
    """EASE whose scores are multiplied by how many users an item has of late, for its age in the data.

    ``score(u, i) = EASE(u, i) · trend_i^power``, where ``trend_i = (users with i in the last days + 1) /
    (users with i · days / days of the data + 1)``: 1 where the last days were as the others.

    Parameters
    ----------
    days : float
        Needs the times of events.
    power : float
        At least 0; with 0 it is EASE.
    """

    days: Positive = 45.0
    power: NotNegative = 0.5

    _stored: ClassVar[tuple[str, ...]] = (*EASE._stored, "trend_")

    def _fit(self, train: Interactions, item_features: csr_array | np.ndarray | None = None) -> None:
        super()._fit(train, item_features)
        recent = recent_users(train, self.days)
        span = np.ptp(seconds(train.events["time"])) / SECONDS_PER_DAY
        usual = user_counts(train.matrix) * self.days / max(span, self.days)
        self.trend_ = torch.as_tensor(((recent + 1) / (usual + 1)) ** self.power).float().to(self._device())

    def _score(self, users: np.ndarray) -> Array:
        return super()._score(users) * as_native(self.trend_)

    def _fold_in(self, histories: csr_array) -> Array:
        return super()._fold_in(histories) * as_native(self.trend_)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        found = super()._explain(users, item)
        return found | {"contribution": found["contribution"] * float(self.trend_[item])}


def close_pairs(train: Interactions, weights: csr_array, scale: float) -> np.ndarray:
    """Sum ``x_ui x_uj exp(−|t_ui − t_uj| / scale)`` over users, t being the latest time of a pair.

    The weights x, shape (n_users, n_items), have the stored pairs of ``train.matrix``; the scale is in
    seconds; float64, shape (n_items, n_items).
    """
    last = train.events.drop_duplicates(["user", "item"], keep="last").sort_values(["user", "item"])
    times = seconds(last["time"])
    order, sizes = _sittings(last["user"].to_numpy(), times, _FAR * scale)
    items, values, times = weights.indices[order].astype(np.int64), weights.data[order], times[order]
    sums, stop = np.zeros(train.n_items**2), 0
    for size in sizes:
        start, stop = stop, stop + size
        closeness = times[start:stop, None] - times[start:stop]
        np.abs(closeness, out=closeness)
        closeness /= -scale
        np.exp(closeness, out=closeness)
        closeness *= values[start:stop, None]
        closeness *= values[start:stop]
        places = items[start:stop, None] * train.n_items + items[start:stop]  # faster than np.ix_
        sums[places.ravel()] += closeness.ravel()
    return sums.reshape(train.n_items, train.n_items)


def _sittings(users: np.ndarray, times: np.ndarray, pause: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut each user's pairs where a pause is too long: the order, and how many pairs each piece has.

    Within a piece the order is the given one: by item, so that neighbouring sums lie near in memory.
    """
    in_time = np.lexsort((times, users))
    cuts = (np.diff(users[in_time]) > 0) | (np.diff(times[in_time]) > pause)
    sitting = np.empty(len(users), np.int64)
    sitting[in_time] = np.cumsum(np.r_[np.zeros(min(1, len(users)), bool), cuts])
    return np.argsort(sitting, kind="stable"), np.bincount(sitting)
