"""The two baselines every table needs: what everybody buys, and what you bought before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from recsys_lib.data import Interactions
from recsys_lib.recommenders import history
from recsys_lib.recommenders.base import Recommender, check_interactions, merge, user_counts
from recsys_lib.recommenders.lists import check_pair


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
