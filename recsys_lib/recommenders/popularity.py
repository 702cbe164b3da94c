"""The baselines every table needs: what everybody buys, what you bought before, and what chance finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import history
from recsys_lib.recommenders.shared.arrays import check_pair
from recsys_lib.recommenders.shared.base import (
    Recommender,
    check_interactions,
    check_positive,
    merge,
    user_counts,
)
from recsys_lib.recommenders.shared.weighting import weigh


@dataclass(eq=False)
class Popularity(Recommender):
    """Recommend what most users have: the baseline that every other model has to beat."""

    def partial_fit(self, new: Interactions) -> Self:
        """Count new interactions too; the same as fitting on old and new together."""
        check_interactions(new)
        self._check_fitted()
        self._remember(merge(self.matrix_, self.users_, self.items_, new))
        return self

    def _fit(self, train: Interactions) -> None:
        pass  # the counts come from the matrix

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self._popularity(), (len(users), 1))


@dataclass(eq=False)
class PersonalFrequency(Recommender):
    """Recommend what a user had before, the more often and the more recently the better.

    ``score(u, i) = Σ_events(u, i) value · ½^(age / half_life) + prior · share of users with i``

    Parameters
    ----------
    half_life : float, optional
        In days; needs the times of events. Without it, age is ignored.
    prior : float
        Weight of popularity, ≥ 0. Small values order what is otherwise equal, first of all the items the
        user never had.
    """

    half_life: float | None = None
    prior: float = 0.01

    scheme: ClassVar[str] = "count"
    _arrays: ClassVar[tuple[str, ...]] = ("history_", "newest_")

    def __post_init__(self) -> None:
        history.check_weighting(self.scheme, self.half_life)
        if not self.prior >= 0:
            raise ValueError(f"prior must be at least 0, got {self.prior!r}")

    def partial_fit(self, new: Interactions) -> Self:
        """Add new interactions and let the old ones age; the same as fitting on both together.

        Raises
        ------
        ValueError
            If there is a half-life and `new` has no times, or times before the newest one already known.
        """
        history.take_in(self, new)
        return self

    def explain(self, user: int, item: int) -> pd.DataFrame:
        """Split the score of a user with a history into its two reasons.

        Parameters
        ----------
        user, item : int
            Positions.

        Returns
        -------
        pandas.DataFrame
            Columns `reason` ("own purchases", "popularity") and `contribution`; they add up to the score.
        """
        users, item = check_pair(self, user, item)
        own = float(self.history_[users].toarray()[0, item])
        popular = float(self._prior()[item])
        return pd.DataFrame({"reason": ["own purchases", "popularity"], "contribution": [own, popular]})

    def _fit(self, train: Interactions) -> None:
        self.history_, self.newest_ = history.remember(train, self.scheme, self.half_life)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.history_[users].toarray() + self._prior()

    def _prior(self) -> np.ndarray:
        return (self.prior * user_counts(self.matrix_) / self.matrix_.shape[0]).astype(np.float32)


@dataclass(eq=False)
class Trending(Recommender):
    """Recommend what many users had lately.

    ``score(i) = log(floor + Σ_users ½^(age of the user's last event with i / half_life))``

    Parameters
    ----------
    half_life : float
        In days; needs the times of events.
    floor : float
        Above 0: how far down an item that nobody had lately goes.
    """

    half_life: float = 14.0
    floor: float = 0.05

    _arrays: ClassVar[tuple[str, ...]] = ("trend_",)

    def __post_init__(self) -> None:
        check_positive(half_life=self.half_life, floor=self.floor)

    def _fit(self, train: Interactions) -> None:
        weights = weigh(train, "binary", self.half_life)
        recent = np.bincount(weights.indices, weights.data, minlength=train.n_items)
        self.trend_ = np.log(recent + self.floor).astype(np.float32)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.trend_, (len(users), 1))


@dataclass(eq=False)
class Random(Recommender):
    """Recommend items drawn at random, each user other ones: what a measure says where nothing is known.

    Parameters
    ----------
    seed : int
        With the user's position it decides the scores, so a user gets the same list whoever else is asked.
    """

    seed: int = 0

    def _fit(self, train: Interactions) -> None:
        pass  # nothing is learnt

    def _score(self, users: np.ndarray) -> np.ndarray:
        scores = np.empty((len(users), self.matrix_.shape[1]), np.float32)
        for row, user in enumerate(users):
            np.random.default_rng([self.seed, int(user)]).random(out=scores[row], dtype=np.float32)
        return scores
