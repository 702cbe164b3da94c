"""What notebooks do with lists: rank a table of scores, look items up, and refuse a model below its floor."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.judging.contenders import STOCHASTIC
from recsys_lib.recommenders.shared.arrays import to_numpy
from recsys_lib.scoring import top_k_blocks

# NDCG@10 that models trained with random draws must reach, with any seed and profile: a little below what
# they reached with any of six seeds.
FLOORS = {
    "movielens_100k": {"ALS": 0.475, "BPR": 0.4, "TwoTower": 0.43, "Hybrid": 0.48},
    "complete_journey_all": {"ALS": 0.262, "BPR": 0.18, "TwoTower": 0.169, "BoostedRanker": 0.42},
    "complete_journey_discovery": {"ALS": 0.049, "BPR": 0.047, "TwoTower": 0.043, "BoostedRanker": 0.056},
}


def mark(name: str) -> str:
    """Return ≈ for a model whose figures may differ a little between machines, else nothing."""
    return "≈" if name in STOCHASTIC else ""


def rank(scores: Any, exclude: csr_array | None = None, k: int = 10) -> np.ndarray:
    """Return the k best columns of each row of a table of scores, best first, shape (n, k).

    Scores are compared in 32 bits: those that are equal there go to the lower column.

    Parameters
    ----------
    scores : array or torch tensor, shape (n, n_items)
        It stays as it is.
    exclude : csr_array, shape (n, n_items), optional
        Its stored items are left out before the selection.

    Examples
    --------
    >>> rank(np.array([[1, 3, 2]]), k=2).tolist()
    [[1, 2]]
    """
    host = to_numpy(scores)
    best = top_k_blocks(lambda some: host[some].astype(np.float32), *host.shape, k, exclude=exclude)
    return to_numpy(best.ids)


def contains(matrix: csr_array, users: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Tell which listed items a matrix holds for the users of the lists; bool, in the shape of `ids`.

    An empty place, −1, holds nothing.

    Examples
    --------
    >>> contains(csr_array([[0, 1, 1], [1, 0, 0]]), np.array([1, 0]), np.array([[0, 1], [2, 0]])).tolist()
    [[True, False], [True, False]]
    """
    held = np.asarray(matrix[np.repeat(users, ids.shape[1]), ids.ravel()]).reshape(ids.shape) > 0
    return held & (ids >= 0)


def check_floor(task: str, model: str, value: float, popular: float) -> None:
    """Raise an AssertionError where a model's NDCG@10 is below its floor, or no better than popularity's.

    Models and tasks without a floor pass.
    """
    floor = FLOORS.get(task, {}).get(model)
    if floor is not None and value < (floor := max(floor, popular)):
        raise AssertionError(f"{task}: {model} has NDCG@10 {value:.4f}, and should reach {floor:.4f}")
