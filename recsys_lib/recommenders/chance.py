"""The floor under every table: lists drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_lib.data import Interactions
from recsys_lib.recommenders.base import Recommender


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
