"""Recommenders made of recommenders: how parts are checked, fitted and put on one scale."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Annotated

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.arrays import Array, to_numpy
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import one_of

Features = csr_array | np.ndarray
Task = Annotated[str, one_of("all", "discovery")]
BLOCK = 256  # users whose dense scores exist at the same time


def check_parts(parts: Sequence[Recommender]) -> None:
    """Raise a ValueError unless there are parts, all of them simple recommenders."""
    if not isinstance(parts, Sequence) or not len(parts):
        raise ValueError("parts must be a sequence of at least one recommender")
    for place, part in enumerate(parts):
        if not isinstance(part, Recommender):
            raise ValueError(f"parts[{place}] must be a recommender, got {type(part).__name__}")
        if any(field.name == "parts" for field in fields(part)):
            raise ValueError(f"parts[{place}] is a {type(part).__name__}, made of parts itself: give those")


def fit_parts(
    parts: Sequence[Recommender], train: Interactions, device: str, item_features: Features | None = None
) -> list[Recommender]:
    """Fit copies of recommenders; `replace` copies hyper-parameters and nothing that was fitted.

    Features go to the parts that learn from them; there must be one.
    """
    if item_features is not None and not any(part._takes_features for part in parts):
        names = ", ".join(type(part).__name__ for part in parts)
        raise ValueError(f"none of the parts ({names}) learns from item_features: leave them out")
    return [
        replace(part, device=device).fit(train, item_features=item_features if part._takes_features else None)
        for part in parts
    ]


def standardize(scores: Array) -> Array:
    """Bring each row to mean 0 and standard deviation 1; a constant row becomes 0."""
    centered = scores - scores.mean(1)[:, None]
    spread = (centered * centered).mean(1)[:, None] ** 0.5
    return centered / (spread + (spread == 0))


def score_blocks(
    parts: Sequence[Recommender], users: np.ndarray
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yield the standardised scores of all parts on the host, for one block of users after the other."""
    for start in range(0, len(users), BLOCK):
        block = users[start : start + BLOCK]
        yield block, [to_numpy(standardize(part.score(block))) for part in parts]


def best_columns(scores: np.ndarray, count: int, excluded: np.ndarray | None = None) -> np.ndarray:
    """Return the columns of the `count` highest scores of each row, in any order."""
    if excluded is not None:
        scores = np.where(excluded, np.float32(-np.inf), scores)
    count = min(count, scores.shape[1])
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]
