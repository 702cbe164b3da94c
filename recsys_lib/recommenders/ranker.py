"""Two stages: simple recommenders propose candidates, boosted trees learn how to rank them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.ensemble import HistGradientBoostingClassifier

from recsys_lib.data import Interactions
from recsys_lib.recommenders.bins import binned, edges_of
from recsys_lib.recommenders.habits import Habits
from recsys_lib.recommenders.parts import (
    Features,
    Task,
    best_columns,
    check_parts,
    fit_parts,
    score_blocks,
    standardize,
)
from recsys_lib.recommenders.shared.arrays import to_numpy
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, Positive, Seed, check_share
from recsys_lib.recommenders.shared.holdout import hold_out_last

_BINS = 64  # of a column's histogram: with 255 the lists of notebook 03 are no better on validation


class Trees(NamedTuple):
    """Boosted trees, and the edges of the bins in which they see each column."""

    model: HistGradientBoostingClassifier
    edges: list[np.ndarray]

    def decision_function(self, columns: np.ndarray) -> np.ndarray:
        """Return the log-odds of each row."""
        return self.model.decision_function(binned(columns, self.edges))


class Table(NamedTuple):
    """Candidates with their description: one row per pair, in ascending order of user and item."""

    users: np.ndarray
    items: np.ndarray
    columns: np.ndarray


@dataclass(kw_only=True, eq=False)
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
    trees, learning_rate, leaves, min_rows
        Number of trees, factor on each, most leaves of a tree, fewest rows of a leaf.
    negatives : float
        Share of the candidates without a purchase that is used in the fit; less is faster.
    seed : int
        Of the choice of negatives.
    item_groups : mapping of str to int array, shape (n_items,), optional
        Of `fit`: what items belong to (category, type): by kind, the number of each item's group, from 0.

    Attributes
    ----------
    candidates_ : csr_array, shape (n_users, n_items)
        Log-odds of the candidates.

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
    task: Task = "all"
    days: Positive = 30.0
    periods: Count = 1
    trees: Count = 100
    learning_rate: Positive = 0.08
    leaves: Count = 15
    min_rows: Count = 100
    negatives: Annotated[Positive, check_share] = 1.0
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = ("candidates_",)
    _cannot: ClassVar[dict[str, str]] = {
        "explain": "its candidates are described by habits, which are not kept after the fit",
        "fold_in": "candidates are ranked in `fit`, for the users of train",
    }
    _takes_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parts(self.parts)
        counts = list(self.candidates) if np.iterable(self.candidates) else []
        whole = all(isinstance(count, int | np.integer) and count >= 0 for count in counts)
        if len(counts) != len(self.parts) or not whole or not any(counts):
            raise ValueError(
                f"candidates must hold a whole number of at least 0 for each of {len(self.parts)} parts, "
                f"one of them above 0; got {self.candidates}"
            )
        self.candidates = [int(count) for count in counts]
        if self.leaves < 2:
            raise ValueError(f"leaves must be at least 2, got {self.leaves!r}")

    def _fit(
        self,
        train: Interactions,
        item_features: Features | None = None,
        item_groups: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        def fitted(history: Interactions) -> list[Recommender]:
            return fit_parts(self.parts, history, self.device, item_features)

        def describe(history: Interactions, parts: list[Recommender]) -> Table:
            return self._describe(history, parts, item_groups)

        trees = self._learn(train, lambda history: describe(history, fitted(history)))
        self.parts_ = fitted(train)
        self.candidates_ = csr_array(train.matrix.shape, dtype=np.float32)
        if trees is None:
            return
        table = describe(train, self.parts_)
        scores = trees.decision_function(table.columns).astype(np.float32)
        indptr = np.searchsorted(table.users, np.arange(train.n_users + 1))
        self.candidates_ = csr_array((scores, table.items, indptr), shape=train.matrix.shape)

    def _learn(self, train: Interactions, describe: Callable[[Interactions], Table]) -> Trees | None:
        """Trees, or None where train is too short to show what anybody did next."""
        columns, labels, weights = [], [], []
        rng = np.random.default_rng(self.seed)
        history = train
        for _ in range(self.periods):
            history, following = hold_out_last(history, self.days)
            if not history.matrix.nnz:
                break
            table = describe(history)
            taken = np.asarray(following.matrix[table.users, table.items]) > 0
            kept, weight = self._rows(table.users, taken, train.n_users, rng)
            columns.append(table.columns[kept])
            labels.append(taken[kept])
            weights.append(weight[kept])
            del table
        if not any(taken.any() for taken in labels):
            return None
        return self._fit_trees(*map(np.concatenate, (columns, labels, weights)))

    def _fit_trees(self, columns: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Trees:
        unknown = np.isnan(columns).all(axis=0)  # a column without a number cannot be binned
        if unknown.any():
            columns = np.where(unknown, np.float32(0), columns)
        edges = edges_of(columns, weights, _BINS)
        model = HistGradientBoostingClassifier(
            max_iter=self.trees,
            max_bins=_BINS,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.min_rows,
            early_stopping=False,
            random_state=self.seed,
        )
        return Trees(model.fit(binned(columns, edges), labels, sample_weight=weights), edges)

    def _rows(
        self, users: np.ndarray, taken: np.ndarray, n_users: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose which rows teach, and how much.

        Users who took nothing cannot show an order. NDCG counts every user once, while one who took much
        would otherwise count as much more.
        """
        count = np.bincount(users, taken, n_users)[users]
        kept = (count > 0) & (taken | (rng.random(len(users)) < self.negatives))
        return kept, 1 / np.sqrt(np.maximum(count, 1))

    def _describe(
        self, train: Interactions, parts: list[Recommender], item_groups: Mapping[str, np.ndarray] | None
    ) -> Table:
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
        described = Habits(train, item_groups).columns(*pairs)
        table = np.empty((len(pairs[0]), len(described) + len(parts)), np.float32)
        for place, values in enumerate(described.values()):
            table[:, place] = values
        table[:, len(described) :] = np.concatenate(standard)
        return Table(*pairs, table)

    def _score(self, users: np.ndarray) -> np.ndarray:
        first = to_numpy(standardize(self.parts_[0].score(users)))
        low = float(self.candidates_.data.min(initial=0)) - 2
        scores = low + first / (1 + np.abs(first))  # between low − 1 and low + 1, in the same order
        ranked = self.candidates_[users]
        rows = np.repeat(np.arange(len(users)), np.diff(ranked.indptr))
        scores[rows, ranked.indices] = ranked.data
        return scores
