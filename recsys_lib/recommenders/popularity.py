"""The baselines every table needs: what everybody buys, what you bought before, and what chance finds."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import NotNegative, Positive, Seed
from recsys_lib.recommenders.shared.products import user_counts
from recsys_lib.recommenders.shared.weighting import recent_users, weigh


@dataclass(kw_only=True, eq=False)
class Popularity(Recommender):
    """Recommend what most users have: the baseline that every other model has to beat."""

    def _fit(self, train: Interactions) -> None:
        pass  # the counts come from the matrix

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self._popularity(), (len(users), 1))

    def _fold_in(self, histories: csr_array) -> np.ndarray:
        return np.tile(self._popularity(), (histories.shape[0], 1))

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        return {"reason": ["users who have it"], "contribution": self._popularity()[[item]]}


@dataclass(kw_only=True, eq=False)
class PersonalFrequency(Recommender):
    """Recommend what a user had before, the more often and the more recently the better.

    ``score(u, i) = Σ_events(u, i) value · ½^(age / half_life) + prior · share of users with i``

    `explain` names two reasons, own purchases and popularity.

    Parameters
    ----------
    half_life : float, optional
        In days; needs the times of events. Without it, age is ignored.
    prior : float
        Weight of popularity, ≥ 0. Small values order what is otherwise equal, first of all the items the
        user never had.
    """

    half_life: Positive | None = None
    prior: NotNegative = 0.01

    _stored: ClassVar[tuple[str, ...]] = ("weights_",)

    def _fit(self, train: Interactions) -> None:
        self.weights_ = weigh(train, "count", self.half_life)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self._fold_in(self.weights_[users])

    def _fold_in(self, histories: csr_array) -> np.ndarray:
        scores = histories.toarray()
        scores += self._prior()
        return scores

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        own = self.weights_[users].toarray()[0, item]
        return {
            "reason": ["own purchases", "popularity"],
            "contribution": np.array([own, self._prior()[item]], np.float64),
        }

    def _prior(self) -> np.ndarray:
        return (self.prior * user_counts(self.matrix_) / self.matrix_.shape[0]).astype(np.float32)


@dataclass(kw_only=True, eq=False)
class Trending(Recommender):
    """Recommend what many users had lately.

    ``score(i) = log(floor + Σ_users ½^(age of the user's last event with i / half_life))``, or with a window
    ``log(floor + users who had i in the last days)``.

    Parameters
    ----------
    half_life : float
        In days; needs the times of events.
    window : float, optional
        In days, in place of the half-life.
    floor : float
        Above 0: how far down an item goes that no user had lately.
    """

    half_life: Positive = 14.0
    floor: Positive = 0.05
    window: Positive | None = None

    _stored: ClassVar[tuple[str, ...]] = ("trend_",)

    def _fit(self, train: Interactions) -> None:
        if self.window is None:
            weights = weigh(train, "binary", self.half_life)
            recent = np.bincount(weights.indices, weights.data, minlength=train.n_items)
        else:
            recent = recent_users(train, self.window)
        self.trend_ = np.log(recent + self.floor).astype(np.float32)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.trend_, (len(users), 1))

    def _fold_in(self, histories: csr_array) -> np.ndarray:
        return np.tile(self.trend_, (histories.shape[0], 1))

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        return {"reason": ["users who had it lately"], "contribution": self.trend_[[item]]}


@dataclass(kw_only=True, eq=False)
class Random(Recommender):
    """Recommend items drawn at random, for each user others: what a measure says where nothing is known.

    Parameters
    ----------
    seed : int
        With the user's position it decides the scores, so a user's list does not depend on who else is asked.
    """

    seed: Seed = 0

    _cannot: ClassVar[dict[str, str]] = {
        "explain": "its scores are drawn at random, without a reason",
        "fold_in": "the position of a user in train decides what is drawn",
    }

    def _fit(self, train: Interactions) -> None:
        pass  # nothing is learnt

    def _score(self, users: np.ndarray) -> np.ndarray:
        scores = np.empty((len(users), self.matrix_.shape[1]), np.float32)
        for row, user in enumerate(users):
            np.random.default_rng([self.seed, int(user)]).random(out=scores[row], dtype=np.float32)
        return scores
