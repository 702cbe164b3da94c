"""Two stages: simple recommenders propose candidates, boosted trees learn how to rank them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.habits import Habits
from recsys_lib.recommenders.parts import (
    best_columns,
    check_parts,
    fit_parts,
    load_with_parts,
    save_with_parts,
    score_blocks,
    standardise,
)
from recsys_lib.recommenders.shared.arrays import check_positions, on_host
from recsys_lib.recommenders.shared.base import Recommender, check_positive
from recsys_lib.recommenders.shared.holdout import hold_out_last
from recsys_lib.recommenders.trees import Trees, apply_trees, contributions, fit_trees


class Table(NamedTuple):
    """Candidates with their description: one row per pair, in ascending order of user and item."""

    users: np.ndarray
    items: np.ndarray
    columns: np.ndarray
    names: list[str]


@dataclass(eq=False)
class BoostedRanker(Recommender):
    """Learn to rank from what users did next.

    Recommenders (`parts`) propose candidates for every user. Each candidate is described by the parts' scores
    (mean 0, standard deviation 1 over a user's items) and by habits (see `Habits`). The label is what came
    next: `fit` goes back to `days` before the end of train, describes the candidates as of that moment, and
    lets boosted trees predict which of them the user took in those days. Then the same description as of the
    end of train is ranked by the trees. With `periods` = 2 the period before teaches, too.

    Parameters
    ----------
    parts : sequence of Recommender
        Not fitted; they are copied, not changed.
    candidates : sequence of int
        How many items each part proposes per user; a part with 0 only describes.
    task : {"all", "discovery"}
        Whether candidates include items the user had before, or are new items only.
    days : float
        Length of the period that is predicted; the time over which the test reaches.
    periods : int
    trees, learning_rate, leaves, min_rows
        Number of trees, factor on each, most leaves of a tree, fewest rows of a leaf.
    negatives : float
        Share of the candidates without a purchase that is used in the fit; less is faster.
    seed : int
        Of the choice of negatives.

    Attributes
    ----------
    candidates_ : csr_array, shape (n_users, n_items)
        Log-odds of the candidates.
    parts_ : list of Recommender
        Fitted on all of train.

    Notes
    -----
    Items that are no candidate follow after all candidates, in the order of the first part; so do all items
    where train is too short to hold out a period in which somebody took a candidate.

    References
    ----------
    Covington, Adams & Sargin (2016), "Deep Neural Networks for YouTube Recommendations", RecSys (candidates,
    then ranking). Friedman (2001), "Greedy Function Approximation: A Gradient Boosting Machine".
    """

    parts: Sequence[Recommender] = ()
    candidates: Sequence[int] = ()
    task: str = "all"
    days: float = 30.0
    periods: int = 1
    trees: int = 100
    learning_rate: float = 0.08
    leaves: int = 15
    min_rows: int = 100
    negatives: float = 1.0
    seed: int = 0

    _arrays: ClassVar[tuple[str, ...]] = ("candidates_",)

    def __post_init__(self) -> None:
        check_parts(self.parts, self.task)
        self.candidates = [int(count) for count in self.candidates]
        if len(self.candidates) != len(self.parts) or min(self.candidates) < 0 or not any(self.candidates):
            raise ValueError(
                f"candidates must hold a number of at least 0 for each of {len(self.parts)} parts, "
                f"one of them above 0; got {self.candidates}"
            )
        check_positive(
            days=self.days,
            periods=self.periods,
            trees=self.trees,
            learning_rate=self.learning_rate,
            min_rows=self.min_rows,
        )
        if self.leaves < 2:
            raise ValueError(f"leaves must be at least 2, got {self.leaves!r}")
        if not 0 < self.negatives <= 1:
            raise ValueError(f"negatives must be above 0 and at most 1, got {self.negatives!r}")

    def fit(self, train: Interactions, groups: Mapping[str, np.ndarray] | None = None) -> Self:
        """Learn parts and trees.

        Parameters
        ----------
        train : Interactions
            With `events`.
        groups : mapping of str to int array, shape (n_items,), optional
            What items belong to (category, type): for each kind the number of each item's group, from 0.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            As every `fit`; and if times are missing, or `groups` do not fit the items.
        """
        return self._fit_or_restore(train, groups=groups)

    def explain(self, user: int, item: int, n: int | None = None) -> pd.DataFrame:
        """Split a candidate's score into what each column of its description adds.

        Not after `load`: descriptions are not stored.

        Returns
        -------
        pandas.DataFrame
            Columns `reason`, `value` (of the column), `contribution`, largest effects first; the first `n`;
            all, the default, add up to the score. An item that is no candidate has a single reason.
        """
        self._check_fitted()
        item = int(check_positions("item", [item], len(self.items_))[0])
        score = float(self.score(np.array([user]))[0, item])
        if user < 0 or item not in self.candidates_[[user]].indices:
            return pd.DataFrame({"reason": ["no candidate"], "value": [np.nan], "contribution": [score]})
        if not hasattr(self, "_table"):
            raise ValueError("a loaded model ranks, but does not explain: fit it again for that")
        values = self._table.columns[(self._table.users == user) & (self._table.items == item)][0]
        reasons = {
            "reason": [*self._table.names, "base rate"],
            "value": [*values, np.nan],
            "contribution": contributions(self._trees, values),
        }
        table = pd.DataFrame(reasons)
        order = np.argsort(-table["contribution"].abs().to_numpy(), kind="stable")
        return table.iloc[order].reset_index(drop=True)[:n]

    def save(self, folder: str | Path) -> None:
        """Store the ranked candidates and the parts; see `Recommender.save`."""
        save_with_parts(self, folder)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Read what `save` stored; see `Recommender.load`."""
        return load_with_parts(cls, folder, device)

    def _fit(self, train: Interactions, groups: Mapping[str, np.ndarray] | None = None) -> None:
        self._group_codes = dict(groups or {})
        self._trees = self._learn(train)
        self.parts_ = fit_parts(self.parts, train, self.device)
        self.candidates_ = csr_array(train.matrix.shape, dtype=np.float32)
        if self._trees is None:
            return
        self._table = self._describe(train, self.parts_)
        scores = apply_trees(self._trees, self._table.columns)
        indptr = np.searchsorted(self._table.users, np.arange(train.n_users + 1))
        self.candidates_ = csr_array((scores, self._table.items, indptr), shape=train.matrix.shape)

    def _learn(self, train: Interactions) -> Trees | None:
        """Trees, or None where train is too short to show what anybody did next."""
        columns, labels, weights = [], [], []
        rng = np.random.default_rng(self.seed)
        history = train
        for _ in range(self.periods):
            history, following = hold_out_last(history, self.days)
            if not history.matrix.nnz:
                break
            table = self._describe(history, fit_parts(self.parts, history, self.device))
            taken = _contains(following.matrix, table.users, table.items)
            kept, weight = self._rows(table.users, taken, train.n_users, rng)
            columns.append(table.columns[kept])
            labels.append(taken[kept])
            weights.append(weight[kept])
            del table
        if not any(taken.any() for taken in labels):
            return None
        return fit_trees(
            np.concatenate(columns),
            np.concatenate(labels),
            np.concatenate(weights),
            n_trees=self.trees,
            learning_rate=self.learning_rate,
            leaves=self.leaves,
            min_rows=self.min_rows,
            seed=self.seed,
        )

    def _rows(
        self, users: np.ndarray, taken: np.ndarray, n_users: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which rows teach, and how much: users who took nothing cannot show an order, and NDCG counts
        every user once, while a user who took much would otherwise count as much more."""
        count = np.bincount(users, taken, n_users)[users]
        kept = (count > 0) & (taken | (rng.random(len(users)) < self.negatives))
        return kept, 1 / np.sqrt(np.maximum(count, 1))

    def _describe(self, train: Interactions, parts: list[Recommender]) -> Table:
        known = np.flatnonzero(np.diff(train.matrix.indptr) > 0)
        users, items, standard = [], [], []
        for block, scores in score_blocks(parts, known):
            seen = train.matrix[block].toarray() > 0
            proposed = np.zeros(seen.shape, bool)
            for part, count in zip(scores, self.candidates, strict=True):
                if count:
                    chosen = best_columns(part, count, seen if self.task == "discovery" else None)
                    np.put_along_axis(proposed, chosen, True, axis=1)
            if self.task == "discovery":
                proposed &= ~seen
            rows, columns = np.nonzero(proposed)
            users.append(block[rows])
            items.append(columns)
            standard.append(np.stack([part[rows, columns] for part in scores], axis=1))
        pairs = np.concatenate(users), np.concatenate(items)
        described = Habits(train, self._group_codes).columns(*pairs)
        names = [*described, *(f"{type(part).__name__}_{n}" for n, part in enumerate(parts))]
        table = np.empty((len(pairs[0]), len(names)), np.float32)
        for place, values in enumerate(described.values()):
            table[:, place] = values
        table[:, len(described) :] = np.concatenate(standard)
        return Table(*pairs, table, names)

    def _score(self, users: np.ndarray) -> np.ndarray:
        first = on_host(standardise(self.parts_[0].score(users)))
        low = float(self.candidates_.data.min(initial=0)) - 2
        scores = low + first / (1 + np.abs(first))  # between low − 1 and low + 1, in the same order
        ranked = self.candidates_[users]
        rows = np.repeat(np.arange(len(users)), np.diff(ranked.indptr))
        scores[rows, ranked.indices] = ranked.data
        return scores


def _contains(matrix: csr_array, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Whether pairs are stored in a matrix with sorted indices."""
    n_items = matrix.shape[1]
    pairs = matrix.tocoo()
    return np.isin(users * n_items + items, pairs.row.astype(np.int64) * n_items + pairs.col)
