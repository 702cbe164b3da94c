"""What many users had lately: popularity with a memory that fades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recsys_lib.data import Interactions
from recsys_lib.recommenders.base import Recommender, check_positive
from recsys_lib.recommenders.weighting import weigh


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
