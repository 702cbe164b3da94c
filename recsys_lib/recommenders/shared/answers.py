"""Answers of models: lists of similar items, and a bar while they are fitted."""

from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse import csr_array
from tqdm import tqdm

from recsys_lib.recommenders.shared.arrays import as_native
from recsys_lib.scoring import TopK, top_k


def unit_rows(positions: np.ndarray, total: int) -> csr_array:
    """Return a row per position that holds a 1 there: a history of one item, or an item to exclude."""
    n = len(positions)
    return csr_array((np.ones(n, np.float32), positions, np.arange(n + 1)), shape=(n, total))


def similar_factors(factors: torch.Tensor, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
    """List the k rows of `factors` with the highest cosine to those of some items."""
    unit = torch.nn.functional.normalize(factors, dim=1)
    queries = unit[torch.from_numpy(items).to(unit.device)]
    return top_k(as_native(queries), as_native(unit), k, exclude=themselves)


def progress_bar(rounds: Iterable, title: str) -> tqdm:
    """Show a bar over the rounds, on a terminal only."""
    return tqdm(rounds, desc=title, disable=None)
